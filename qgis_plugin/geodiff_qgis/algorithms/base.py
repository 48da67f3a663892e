"""An algorithm of the toolbox that runs geodiff: its parameters are read first, then it runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import closing
from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterDefinition,
)
from qgis.PyQt.QtCore import QCoreApplication, QThread

from geodiff_qgis import environment, result, settings
from geodiff_qgis.algorithms.refusal import refusal
from geodiff_qgis.events import Progress
from geodiff_qgis.request import Request
from geodiff_qgis.runner import Cancelled, Run, RunError
from geodiff_qgis.sources import Unusable, tr
from geodiff_qgis.task import checked
from geodiff_qgis.wording import TOOLBOX, reworded
from geodiff_qgis.words import stage_words

OUTPUT = "OUTPUT"


class GeodiffAlgorithm(QgsProcessingAlgorithm):
    """Reads a `Request` from the parameters in QGIS's thread and runs it in its own."""

    command: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]

    def name(self) -> str:
        """Behind the provider's id."""
        return self.command

    def displayName(self) -> str:
        """As the toolbox shows it."""
        return tr(self.title)

    def group(self) -> str:
        """None: the provider has a handful of algorithms."""
        return ""

    def groupId(self) -> str:
        """None."""
        return ""

    def shortHelpString(self) -> str:
        """Beside the dialog."""
        return tr(self.about)

    def helpUrl(self) -> str:
        """No address: the documentation comes with the plugin."""
        return ""

    def createInstance(self) -> GeodiffAlgorithm:
        """A fresh one for each run."""
        return type(self)()

    def asked(
        self, given: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Request:
        """The request in the parameters, but for the file to write. Raises Unusable."""
        raise NotImplementedError

    def destination(self, given: dict[str, Any], context: QgsProcessingContext) -> str:
        """The file to write; another one each time that it is asked for a temporary one."""
        return str(self.parameterAsFileOutput(given, OUTPUT, context))

    def prepareAlgorithm(
        self, given: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read layers and settings, which may only be done in QGIS's own thread."""
        try:
            self.request = self.asked(given, context, feedback)
            self.program = settings.program()
        except (Unusable, ValueError, environment.NotFound) as error:
            raise refusal(str(error)) from error
        return True

    def processAlgorithm(
        self, given: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the child to its end, or to where the user cancels.

        The output is named here and not before: QGIS loads only what the context of the run's own
        thread knows.
        """
        self.named = self.destination(given, context)
        self.request = self.request.but(out=self.named).absolute()
        words = [*self.request.words(), "--json", "--progress=json"]
        feedback.pushCommandInfo(shlex.join(["geodiff", *words]))
        try:
            run = Run([checked(self.program).path, *words], self.request.out)
            follow(run, feedback, self.in_dialog)
        except Cancelled:
            return {}
        except (RunError, environment.NotFound) as error:
            raise refusal(self.in_dialog(str(error))) from error
        return self.results(run.result, context)

    def in_dialog(self, text: str) -> str:
        """What geodiff says, in the words of the algorithm's dialog."""
        found = {name: self.parameterDefinition(name) for name in TOOLBOX.values()}
        titles = {name: one.description().partition(" [")[0] for name, one in found.items() if one}
        labels = {option: titles[name] for option, name in TOOLBOX.items() if name in titles}
        return reworded(text, labels, tr)

    def results(self, facts: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        """What the algorithm gives."""
        return {OUTPUT: self.request.out}


def follow(run: Run, feedback: QgsProcessingFeedback, worded: Callable[[str], str]) -> None:
    """Tell what the child does, and hand on the user's cancel. Raises RunError.

    QGIS runs batches in the thread of its widgets: there it has to be let work, or it would stand
    still and nobody could cancel.
    """
    progress, shown = Progress(), ""
    widgets = QThread.currentThread() == QCoreApplication.instance().thread()
    with closing(run.events()) as events:
        for event in events:
            if widgets:
                QCoreApplication.processEvents()
            if feedback.isCanceled():
                run.cancel()
            if event is None:
                continue
            feedback.setProgress(progress.after(event))
            for note in event.notes:
                feedback.pushWarning(worded(note))
            if event.text and not event.text.startswith("Error: "):
                feedback.pushInfo(event.text)
            if event.stage and stage_words(event) != shown:
                shown = stage_words(event)
                feedback.setProgressText(shown)


class Describe(QgsProcessingLayerPostProcessorInterface):
    """Gives the loaded layer its name and metadata; kept alive here, as QGIS does not."""

    alive: ClassVar[list[Describe]] = []

    def __init__(self, path: str, facts: dict[str, Any]) -> None:
        super().__init__()
        self.path, self.facts = path, facts
        Describe.alive[:] = [*Describe.alive[-20:], self]

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        """Called by QGIS when the layer is loaded."""
        result.describe(layer, self.path, self.facts)


def advanced(parameter: QgsProcessingParameterDefinition) -> QgsProcessingParameterDefinition:
    """The parameter, under "Advanced"."""
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter
