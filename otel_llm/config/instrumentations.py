"""The libraries that `instrument` may name, and the ways people spell them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLIENT_LIBRARIES", "INSTRUMENTATIONS", "RECORDED_BY_DEFAULT", "SPELLINGS"]

RECORDED_BY_DEFAULT: Final = ("litellm", "httpx", "aiohttp")
CLIENT_LIBRARIES: Final = (
    "openai",
    "anthropic",
    "google-genai",
    "mistralai",
    "bedrock",
    "ollama",
    "langchain",
    "llama-index",
    "pydantic-ai",
    "openai-agents",
    "dspy",
)
"""Recorded by instrumentations of others; named as their packages are, but for Bedrock, which is boto3's."""
INSTRUMENTATIONS: Final = (*RECORDED_BY_DEFAULT, *CLIENT_LIBRARIES)
"""Every name that `instrument` may hold."""

SPELLINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "google_genai": "google-genai",
        "google.genai": "google-genai",
        "genai": "google-genai",
        "gemini": "google-genai",
        "mistral": "mistralai",
        "mistral_ai": "mistralai",
        "boto3": "bedrock",
        "botocore": "bedrock",
        "aws-bedrock": "bedrock",
        "aws.bedrock": "bedrock",
        "langchain-core": "langchain",
        "langchain_core": "langchain",
        "langgraph": "langchain",
        "llama_index": "llama-index",
        "llamaindex": "llama-index",
        "pydantic_ai": "pydantic-ai",
        "pydanticai": "pydantic-ai",
        "openai_agents": "openai-agents",
        "agents": "openai-agents",
    }
)
"""Import names, and what else is obvious -> the name."""
