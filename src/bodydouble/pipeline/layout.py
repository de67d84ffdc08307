"""Where things are in a run folder."""

AVATAR = "avatar.glb"
CAPTURE = "capture"
REPORT_HTML = "report.html"
REPORT_JSON = "report.json"
TURNTABLE = "turntable.mp4"
SPLATS_CHECKPOINT = "checkpoints/splats"
HELDOUT = "checkpoints/heldout"
