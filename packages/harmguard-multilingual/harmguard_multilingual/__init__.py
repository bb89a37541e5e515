"""The guard `multilingual`, in the folder `guard` beside this file; harmguard finds it by name."""
