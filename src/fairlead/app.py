"""Builds the house: wishes → storage → snapshot → pipeline → ASGI application. Imports everybody, imported by none
but the command line.

    house = House(wishes, environ=os.environ)
    await house.open()        # storage, catalogue, background work
    house.asgi                # the application
    await house.aclose()      # writes what is owed, closes what was opened
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TextIO

from fairlead.auth import Auth
from fairlead.call import Call
from fairlead.catalog import Catalog
from fairlead.config import Wishes
from fairlead.config.sync import snapshot
from fairlead.config.watch import Reloader
from fairlead.http.asgi import Scope
from fairlead.http.health import Finding, Health
from fairlead.http.heartbeat import Heartbeats
from fairlead.http.inference import Inference
from fairlead.http.models import Models
from fairlead.http.routes import Routes
from fairlead.pipeline import Buffers, Pipeline
from fairlead.protocols import Wire
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterChat, OpenRouterCompletions
from fairlead.providers.listing import Listings
from fairlead.providers.simulator import SimulatorTransport
from fairlead.storage import open_storage
from fairlead.telemetry.logs import AccessLog, AccessRecord
from fairlead.upstream import Transport
from fairlead.upstream.pool import Pool
from fairlead.usage.ledger import Ledger

log = logging.getLogger("fairlead.app")

# What is spoken with providers, and what with clients: OpenRouter's dialects are only a way to answer.
WIRES: dict[str, Wire] = {wire.name: wire for wire in (OpenAIChat(), OpenAICompletions(), AnthropicMessages())}
DIALECTS: dict[str, Wire] = {
    **WIRES,
    "openrouter-chat": OpenRouterChat(),
    "openrouter-completions": OpenRouterCompletions(),
}
