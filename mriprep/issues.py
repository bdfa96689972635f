"""What was found to be wrong or noteworthy, in words a user can act on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much an issue matters."""

    NOTE = 'note'  # worth knowing, nothing to do
    WARNING = 'warning'  # the result stands, but somebody should look
    ERROR = 'error'  # what the issue is about is not processed


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One finding: where, what, and what to do.

    Examples
    --------
    >>> str(Issue(severity=Severity.ERROR, where='sub-1/anat/sub-1_T1w.nii.gz',
    ...           problem='the file is empty', remedy='copy it again'))
    'sub-1/anat/sub-1_T1w.nii.gz: the file is empty; copy it again'
    """

    severity: Severity
    where: str  # path relative to the dataset, '' for the dataset as a whole
    problem: str
    remedy: str  # '' when there is nothing to do
    subject: str | None = None  # without 'sub-'
    session: str | None = None  # without 'ses-'

    def __str__(self) -> str:
        text = f'{self.where}: {self.problem}' if self.where else self.problem
        return f'{text}; {self.remedy}' if self.remedy else text
