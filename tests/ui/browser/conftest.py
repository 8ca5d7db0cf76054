"""The session of discs, for pages without a browser and with one."""

from tests.ui.session.conftest import open_session, session  # noqa: F401  are fixtures
