"""The Avatar: rig, mesh and splats in one .glb; driving it, and motions in and out."""
