"""What a study found: figures with their intervals and tests, learning curves, and the sentences that go with them."""

from __future__ import annotations

from harness.study.report.build import build
from harness.study.report.figures import Contrast, CurvePanel, ForecastError, MethodCurve, Panel, PanelRow, StudyReport

__all__ = ["Contrast", "CurvePanel", "ForecastError", "MethodCurve", "Panel", "PanelRow", "StudyReport", "build"]
