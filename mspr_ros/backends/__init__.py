"""Ways to run a bundle's network behind one interface: torch, onnxruntime, openvino."""
