"""Values and protocols that plug-ins implement.

This package is the whole vocabulary of the harness, and plug-ins import it from here. It imports no heavy package, so a
plug-in can be read, listed and checked without torch. Units: log-probabilities in nats, lengths in tokens, compute in
FLOPs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.contracts.aligner import (
    Aligner,
    AsksJudge,
    Bench,
    ConfigT,
    DeclaresCapabilities,
    Finishes,
    HasAliases,
    Loads,
)
from harness.contracts.data import CountsRows, Dataset, LeftOut, OwnRows, Pool, Reading, Source, SourceKind
from harness.contracts.errors import BudgetExceeded, DatasetAbsent, HarnessError, SplitAbsent
from harness.contracts.judge import ComparesWithReference, Judge, JudgeItem, JudgeTools, TakesTools, Verdict
from harness.contracts.model import (
    Aligned,
    Capability,
    ChooseRequest,
    Chooses,
    GenerateRequest,
    Generates,
    LanguageModel,
    Loglik,
    LoglikRequest,
    Preference,
    PreferRequest,
    Prefers,
    ScoresText,
    TokenScores,
    able_to,
    capabilities,
    require,
)
from harness.contracts.regime import Budget, Lengths, Regime, budget_for, every_label, settled
from harness.contracts.running import Backend, BackendCapability, Executor, ModelSource, RunObserver
from harness.contracts.task import EvalContext, Family, FollowsPool, HasDataset, Judged, SampleRow, Scores, Task, Whole
from harness.contracts.values import (
    BASE,
    POLICY,
    Completion,
    FewShot,
    Message,
    Messages,
    Need,
    Pair,
    Prompt,
    Rating,
    Ratings,
    Role,
    Span,
    Verifier,
    user,
)

if TYPE_CHECKING:
    from harness.contracts.values import FloatArray

__all__ = [
    "BASE",
    "POLICY",
    "Aligned",
    "Aligner",
    "AsksJudge",
    "Backend",
    "BackendCapability",
    "Bench",
    "Budget",
    "BudgetExceeded",
    "Capability",
    "ChooseRequest",
    "Chooses",
    "ComparesWithReference",
    "Completion",
    "ConfigT",
    "CountsRows",
    "Dataset",
    "DatasetAbsent",
    "DeclaresCapabilities",
    "EvalContext",
    "Executor",
    "Family",
    "FewShot",
    "Finishes",
    "FloatArray",
    "FollowsPool",
    "GenerateRequest",
    "Generates",
    "HarnessError",
    "HasAliases",
    "HasDataset",
    "Judge",
    "JudgeItem",
    "JudgeTools",
    "Judged",
    "LanguageModel",
    "LeftOut",
    "Lengths",
    "Loads",
    "Loglik",
    "LoglikRequest",
    "Message",
    "Messages",
    "ModelSource",
    "Need",
    "OwnRows",
    "Pair",
    "Pool",
    "PreferRequest",
    "Preference",
    "Prefers",
    "Prompt",
    "Rating",
    "Ratings",
    "Reading",
    "Regime",
    "Role",
    "RunObserver",
    "SampleRow",
    "Scores",
    "ScoresText",
    "Source",
    "SourceKind",
    "Span",
    "SplitAbsent",
    "TakesTools",
    "Task",
    "TokenScores",
    "Verdict",
    "Verifier",
    "Whole",
    "able_to",
    "budget_for",
    "capabilities",
    "every_label",
    "require",
    "settled",
    "user",
]
