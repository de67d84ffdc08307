"""From video frames to Observations: networks, masks, choice of the subject, confidences."""
