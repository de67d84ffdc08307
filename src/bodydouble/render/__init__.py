"""Images from splats and meshes: the reference, the CPU kernels, gsplat on CUDA, and a plain z-buffer for meshes."""
