"""Seed books: a study's seed cards as typed values, read from ``seedbook.json``.

    from seedml.seedbook import SeedBook

    SeedBook.load("runs/quickstart").golden(5).seeds

Needs the standard library alone: no torch, no numpy. What makes pictures of a book is in ``seedml.sampling``.
"""

from __future__ import annotations

from seedml.seedbook.book import FILE as FILE
from seedml.seedbook.book import VERSION as VERSION
from seedml.seedbook.book import Advice as Advice
from seedml.seedbook.book import Recipe as Recipe
from seedml.seedbook.book import SeedBook as SeedBook
from seedml.seedbook.cards import Cards as Cards
from seedml.seedbook.cards import Score as Score
from seedml.seedbook.cards import SeedCard as SeedCard
from seedml.seedbook.seal import sealed as sealed
from seedml.seedbook.transfer import Figure as Figure
from seedml.seedbook.transfer import Transfer as Transfer
