"""Ultralytics' predictor, made to finish. Import it only after `ultralytics_env.prepare`."""

from __future__ import annotations

from typing import Any

from ultralytics.models.yolo.detect import DetectionPredictor
from ultralytics.utils import nms

# Ultralytics stops suppressing after 2 s plus this per image (0.05 s there) and then returns the
# images that are left as empty: on a busy machine that would read as "nothing found".
_SECONDS_PER_IMAGE = 3600.0


class PatientPredictor(DetectionPredictor):  # type: ignore[misc]
    """Non-maximum suppression without a time limit, boxes only (no segments, no features)."""

    def postprocess(self, preds: Any, img: Any, orig_imgs: Any, **_: Any) -> Any:
        kept = nms.non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            max_det=self.args.max_det,
            max_time_img=_SECONDS_PER_IMAGE,
            end2end=getattr(self.model, "end2end", False),
        )
        return self.construct_results(kept, img, orig_imgs)
