"""What may stand in the log: where something failed and of which kind, never the values it failed on."""

import logging
import traceback


def without_values(record: logging.LogRecord) -> bool:
    """A filter for handlers: an exception's text may quote a petition, so only its type and the lines of code are kept."""
    if record.exc_info and record.exc_info[0]:
        kind, _, frames = record.exc_info
        record.msg = f"{record.getMessage()}: {kind.__name__}\n{''.join(traceback.format_tb(frames))}".rstrip()
        record.args = ()
        record.exc_info = record.exc_text = None
    return True
