"""Pictures from the seeds of a book, and the book's seeds in forms that other programs take.

from seedml.sampling import sample
from seedml.seedbook import SeedBook

book = SeedBook.load("runs/quickstart")
sample(book, "a red mug on grass", book.golden(4)).save("mugs")
"""

from __future__ import annotations

from seedml.sampling.pictures import Samples as Samples
from seedml.sampling.pictures import sample as sample
from seedml.sampling.settings import settings_of as settings_of
