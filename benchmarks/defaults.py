"""Settings as the project ships them: what is measured does not hang on the shell or the folder it is measured in."""

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from stream_app.settings import Settings


class DefaultSettings(Settings):
    """Settings of which only what the caller says differs from the defaults.

    Neither variables with the prefix ``CROSSAISLE_`` nor a ``.env`` file are read.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the caller's values alone."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
