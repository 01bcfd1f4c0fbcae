"""The steps of the crack-training pipeline. Each step has a folder. README.md in this folder describes the steps."""
