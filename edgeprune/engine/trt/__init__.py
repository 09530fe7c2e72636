"""TensorRT, 8.5 to 11: engines built, run and read back on the device that they are for.

Nothing here is imported before a CUDA device was found (`driver.first_gpu`), and all of it runs in a process of its own
(`measure.trt_worker`): a TensorRT runtime without a device ends in a segmentation fault when Python exits.
"""
