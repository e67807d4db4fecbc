"""What holds for every test: none may fail because the machine was slow."""

from hypothesis import settings

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
