import os

# TensorFlow's start-up notices (no CUDA found, CPU features) say nothing about this pipeline.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
