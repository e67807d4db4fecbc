# Two images: `wallet` for writer, reader, proxy and the preparation of a cluster, and `entry` for
# the load balancer before the proxies. Nothing that is compiled or secret is in either.
ARG PYTHON=3.11
ARG BASE=python:${PYTHON}-slim

FROM ${BASE} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/ewallet
# `make wheels` fills .wheels where a build can't reach a package index; it need not exist.
COPY requirements.txt .wheel[s] /wheels/
RUN /opt/ewallet/bin/pip install --quiet --find-links /wheels --only-binary :all: \
        --require-hashes --requirement /wheels/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY broker broker
COPY contracts contracts
COPY ewallet ewallet
COPY proxy proxy
COPY reader reader
COPY runtime runtime
COPY writer writer
RUN /opt/ewallet/bin/pip install --quiet --no-deps --no-build-isolation . \
    && /opt/ewallet/bin/pip uninstall --quiet --yes setuptools pip

FROM ${BASE} AS wallet
# A named volume takes its owner from the folder of the image that it is first mounted on.
RUN groupadd --system --gid 10001 ewallet \
    && useradd --system --uid 10001 --gid ewallet --no-create-home ewallet \
    && install -d -o ewallet -g ewallet -m 0700 /data /stores/1 /stores/2 /stores/3 \
        /secrets/nats /secrets/writer /secrets/reader /secrets/proxy
COPY --from=build /opt/ewallet /opt/ewallet
ENV PATH=/opt/ewallet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 EWALLET_DATA_DIR=/data
USER ewallet
WORKDIR /data
ENTRYPOINT ["ewallet"]

# Unpacked, not installed: the program and the libraries it lacks, no service and no user.
FROM ${BASE} AS haproxy
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends --download-only haproxy >/dev/null \
    && for deb in /var/cache/apt/archives/*.deb; do dpkg-deb --extract "$deb" /unpacked; done

FROM ${BASE} AS entry
COPY --from=haproxy /unpacked/usr /usr
COPY deploy/entry.cfg /etc/haproxy/entry.cfg
USER 10001:10001
RUN haproxy -c -f /etc/haproxy/entry.cfg
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/haproxy/entry.cfg"]
