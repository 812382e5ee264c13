"""The report of a study: figures with intervals and tests, learning curves, and sentences."""

from __future__ import annotations

from harness.study.report.build import build
from harness.study.report.figures import Contrast, CurvePanel, ForecastError, MethodCurve, Panel, PanelRow, StudyReport

__all__ = ["Contrast", "CurvePanel", "ForecastError", "MethodCurve", "Panel", "PanelRow", "StudyReport", "build"]
