"""What training, export and run time must do alike: text to score, and files on disk.

Each idea is written here once, and a port to another language copies these modules: `encode`
(text pair -> windows), `batch` (windows -> padded batch), `scores` (logits -> scores), `files`
(write aside, then rename), `cores` (how many threads). Imports numpy and tokenizers only.
"""
