"""All that needs torch.

capture.capture       nn.Module -> Captured (graph, weights, form of the result)
models.load_model     a zoo name, package.module:factory or .pt2 -> nn.Module
models.load_captured  the same, or an artifact -> Captured
artifact              Captured <-> a folder with a graph as data and safetensors
executor.StageExecutor  runs stages, bytes in and bytes out
measure.measure       times operators and stages -> Profile
"""
