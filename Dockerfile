# syntax=docker/dockerfile:1

# Builds the product and its native modules; nothing of this stage but the result is shipped.
FROM node:22-bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 make g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
# The application finds the product by its name, as in any project.
COPY --from=build /build/node_modules node_modules/
COPY --from=build /build/package.json node_modules/routemq/package.json
COPY --from=build /build/dist node_modules/routemq/dist/
COPY --from=build /build/stubs node_modules/routemq/stubs/
COPY docker/package.json ./
COPY app app/
COPY bootstrap bootstrap/
COPY controllers controllers/
COPY middleware middleware/
COPY migrations migrations/
COPY routers routers/
RUN mkdir data .routemq && chown node:node data .routemq
USER node
VOLUME /app/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.HTTP_PORT || 8000) + '/live').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# As the first process, without a shell or npm between: signals reach it.
CMD ["node", "--v8-pool-size=1", "node_modules/routemq/dist/core/cli/main.js", "--run"]
