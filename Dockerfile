# One image for workers and for making topics. Built from the checkout: docker build -t crossaisle .
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY stream_app stream_app
COPY operators operators
COPY state state
RUN python -m venv /opt/crossaisle && /opt/crossaisle/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 crossaisle && mkdir /state && chown crossaisle /state
COPY --from=build /opt/crossaisle /opt/crossaisle
ENV PATH=/opt/crossaisle/bin:$PATH \
    CROSSAISLE_STATE_DIR=/state \
    CROSSAISLE_WEB_HOST=0.0.0.0 \
    NUMBA_CACHE_DIR=/state/numba
USER crossaisle
VOLUME /state
EXPOSE 6066
CMD ["crossaisle", "worker"]
