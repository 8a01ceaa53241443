"""OpenVINO: its intermediate representation, written through the `openvino` package."""
