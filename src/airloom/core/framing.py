"""How many bytes a payload takes on the wire: the arithmetic that planners price and `wire/` obeys.

Law 4: bytes on the wire equal bytes planned, first transmission with its framing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from airloom.core.value import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Of one message or of many.
Count = TypeVar("Count", int, "NDArray[np.int64]")


class Framing(Value, frozen=True):
    """Sizes of the layers around a payload.

    Attributes:
        block_bytes: largest datagram payload, header and tag included.
        block_overhead: block header and authentication tag.
        packet_overhead: IP and UDP headers of one datagram (20 + 8 for IPv4).
        message_overhead: the message header that precedes the tensors, a fixed size.
        tensor_overhead: what each tensor adds to the message header.
    """

    block_bytes: int = 1200
    block_overhead: int = 48
    packet_overhead: int = 28
    message_overhead: int = 64
    tensor_overhead: int = 16

    def message_nbytes(self, tensor_nbytes: tuple[int, ...]) -> int:
        """Header and payload of one message, before it is cut into blocks."""
        return self.message_of(sum(tensor_nbytes), len(tensor_nbytes))

    def message_of(self, payload: Count, tensors: Count) -> Count:
        """`message_nbytes` of one message or of many, from the bytes and the number of its tensors."""
        return self.message_overhead + tensors * self.tensor_overhead + payload

    def num_blocks(self, message_nbytes: Count) -> Count:
        """Of one message or of many; one without a byte has a block too."""
        blocks: Count = -(-message_nbytes // (self.block_bytes - self.block_overhead)) + (message_nbytes == 0)
        return blocks

    @property
    def coded_rooms(self) -> tuple[int, int]:
        """Bytes of a coded blob in block 0 and in every other block of its message.

        A coded message always names two tensors, the blob and the list of what earlier hops lost
        of it (mostly empty), so that the blob lies in the blocks of every hop alike.
        """
        room = self.block_bytes - self.block_overhead
        return room - self.message_overhead - 2 * self.tensor_overhead, room

    def wire_nbytes(self, tensor_nbytes: tuple[int, ...]) -> int:
        """Bytes of IP packets for the first transmission of these tensors."""
        return self.sent_nbytes(self.message_nbytes(tensor_nbytes))

    def sent_nbytes(self, message_nbytes: Count) -> Count:
        """`wire_nbytes` of one message or of many."""
        return message_nbytes + self.num_blocks(message_nbytes) * (self.block_overhead + self.packet_overhead)
