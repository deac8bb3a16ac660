"""Boards that bitstreams are built for. A further one is a file here and its name below."""

from .board import Board, BoardError
from .icebreaker import ICEBREAKER
from .icepi_zero import ICEPI_ZERO
from .ulx3s_85f import ULX3S_85F

BOARDS = {board.name: board for board in (ULX3S_85F, ICEPI_ZERO, ICEBREAKER)}


def find_board(name: str) -> Board:
    """The board of that name; BoardError names those there are."""
    if name not in BOARDS:
        raise BoardError(f"no board {name!r}", "board", f"use one of {', '.join(BOARDS)}")
    return BOARDS[name]
