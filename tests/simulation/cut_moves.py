"""What owners in a world do to the ends of their logs: cut off what is not committed, and go on there.

A cut takes away frames that are on their way or stored, and whose publishers have heard nothing yet; they
hear an error. An owner may die before it hears of its cut, and the disk may fail in the middle of it.
"""

from shardbroker.storage import layout


class CutMoves:
    """A part of world.World, whose fields it uses."""

    def truncate(self) -> None:
        """Have the log of a stream cut off behind one of its frames; what was published behind it fails."""
        picked = self.pick()
        if picked is None:
            return
        owner, log_id = picked
        stream = owner.face.streams[log_id]
        if stream.cutting or stream.failed:
            return self.cut_again(owner)
        if self.chance.random() < 0.7:
            self.append(owner)
        self.cut(owner, log_id, self.chance.randrange(stream.log.durable_index, stream.log.index + 1))

    def cut(self, owner, log_id: int, index: int) -> None:
        log = owner.face.streams[log_id].log
        self.bench.commit(log_id, log.durable_index)
        self.promises.log(log_id).cuts.append(index)
        self.answers(owner, owner.face.truncate_suffix(log_id, index))

    def cut_again(self, owner) -> None:
        """The disk has failed meanwhile."""
        for log_id, stream in owner.face.streams.items():
            if stream.cutting and stream.frames_in_flight == 0:
                self.cut(owner, log_id, stream.cut_index)

    def finish_cuts(self, owner) -> None:
        """A log whose end is half gone is read by nobody before the writer has begun anew and finished it."""
        store = self.bench.store
        while any(self.disk.exists(f"{store.cuts_path}/{layout.log_name(n)}") for n in owner.log_ids):
            self.writer_starts()
        for log_id in owner.log_ids:
            self.promises.log(log_id).cuts.clear()

    def note_cuts(self, owner, cutting: list[int]) -> None:
        """Of logs that were being cut, some are now: segments that the owner knew may be gone."""
        for log_id in cutting:
            stream = owner.face.streams[log_id]
            if not stream.cutting:
                self.promises.log(log_id).cuts.clear()
                bases = owner.bases[log_id]
                owner.bases[log_id] = {base: bases[base] for base in bases if base < stream.log.position}
