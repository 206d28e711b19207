# Makes model directories without torch on the machine that uses them:
#
#     docker build -f scripts/export.Dockerfile -t datumaro-embed-export .
#     docker run --rm -v "$PWD:/work" datumaro-embed-export openai/clip-vit-base-patch32 -o /work/clip
#
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir "/src[export]"
WORKDIR /work
ENTRYPOINT ["datumaro-embed", "export-model"]
