"""The published recipe of Vid2Avatar (Guo et al., CVPR 2023) in plain torch, to be measured against; not a way to make avatars.

Written from the paper and from descriptions of the released program (MIT): its layers, sampler, losses and schedules.
Other bodies than SMPL have no checkpoint of the pre-trained shape, so the signed distance of the canonical body is
learnt first, which counts as part of its time.
"""
