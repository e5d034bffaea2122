"""What a Jetson measures: engines of every file, compared with onnxruntime, timed, sent home as one record."""
