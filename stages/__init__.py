import os

ENVIRONMENT = {
    # TensorFlow's start-up notices (no CUDA found, CPU features) say nothing about this pipeline.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # With oneDNN an image's activations are the same to the last bit wherever it stands in a batch. TensorFlow
    # takes it unasked only on processors with instructions for neural networks. On others its own convolutions,
    # which are slower, round differently here and there in a batch: results from the store would not fit.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
