"""Subjects for hypothesis: few tokens, so that patterns meet; odd tokens, so that rules are tested."""

from hypothesis import strategies as st

# `*` and `>` inside longer tokens are literal; a form feed and a byte above 127 are ordinary characters.
LITERAL_TOKENS = (b"a", b"b", b"a*", b">b", b"\x0c", b"\xff", b"longer-than-sixteen-bytes")
literal_tokens = st.sampled_from(LITERAL_TOKENS)
# What may be published without pedantic: wildcards as literals. One in four lists holds an empty token.
published_tokens = st.sampled_from((*LITERAL_TOKENS, b"a", b"b", b"*", b">", b""))

published_subjects = st.lists(published_tokens, min_size=1, max_size=6).map(b".".join)
literal_subjects = st.lists(literal_tokens, min_size=1, max_size=6).map(b".".join)


@st.composite
def patterns(draw: st.DrawFn) -> bytes:
    """A subject that SUB accepts."""
    tokens = draw(st.lists(st.one_of(literal_tokens, st.just(b"*")), max_size=5))
    if draw(st.booleans()) or not tokens:
        tokens.append(draw(st.sampled_from((b">", b"*", b"a"))))
    return b".".join(tokens)


any_subjects = st.lists(
    st.sampled_from((b"a", b"*", b">", b".", b" ", b"\t", b"\x0c", b"\0", b"b")), max_size=9
).map(b"".join)
