"""What a guard costs on this machine: latency, throughput, start-up and memory.

`harmguard bench` prints it; `benchmarks/` in the repository compares it with other runtimes.
Needs the base install only, but for the picture.
"""
