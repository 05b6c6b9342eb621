"""Ollama's completion of one prompt, by the SDK `ollama`. https://docs.ollama.com/api/generate"""

from typing import Any

from fairlead.conformance import Answer, Received, Told, Turn
from fairlead.conformance.formats.ollama_chat import Ollama, ended, settings
from fairlead.conformance.formats.shared import body, decoded, take


class Judge(Ollama):
    """What a provider of completions is sent, and answers."""

    async def ask(self, said: dict[str, Any]) -> Any:
        return await self.sdk.generate(**said)

    def read(self, answer: Answer, told: Any) -> None:
        answer.text += told.response or ""
        answer.thinking += told.thinking or ""
        ended(answer, told)

    def told(self, received: Received) -> Told:
        sent = body(received)
        take(sent, "model prompt suffix system template context stream think raw format images options keep_alive", "")
        told = settings(sent)
        told.system = sent.get("system", "")
        images = sent.get("images", ())
        told.turns.append(Turn("user", [sent["prompt"]], [("image", decoded(image)) for image in images]))
        return told
