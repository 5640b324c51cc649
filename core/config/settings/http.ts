import { bytes, flag, isOrigin, list, matching, port, rate, text, url } from '../kinds.js'
import { GIB, KIB, MIB, setting } from '../setting.js'

/** The sidecar. */
export const HTTP_SETTINGS = {
  httpEnabled: setting({
    path: 'http.enabled',
    names: ['HTTP_ENABLED'],
    kind: flag(),
    fallback: true,
    about: 'Whether the HTTP sidecar runs.',
  }),
  httpHost: setting({
    path: 'http.host',
    names: ['HTTP_HOST'],
    kind: text('an address to listen on'),
    fallback: '127.0.0.1',
    about: 'Address of the sidecar; one that others reach needs HTTP_API_KEYS, a kept key or a token setting.',
  }),
  httpPort: setting({
    path: 'http.port',
    names: ['HTTP_PORT'],
    kind: port(),
    fallback: 8_000,
    about: 'Port of the sidecar.',
  }),
  httpKeys: setting({
    path: 'http.api_keys',
    names: ['HTTP_API_KEYS'],
    kind: list((key) => key.length >= 16, 'keys of at least 16 characters, separated by commas'),
    fallback: [],
    secret: 'file',
    effect: 'live',
    about: 'Bearer keys that may call the sidecar.',
  }),
  httpJwtSecret: setting({
    path: 'http.jwt.secret',
    names: ['HTTP_JWT_SECRET'],
    kind: matching(/^.{32,}$/s, 'at least 32 characters'),
    secret: 'file',
    effect: 'live',
    about: 'Shared secret of tokens signed with HS256.',
  }),
  httpJwksUrl: setting({
    path: 'http.jwt.jwks_url',
    names: ['HTTP_JWKS_URL'],
    kind: url('http:// or https://'),
    effect: 'live',
    about: 'Address of the public keys of tokens signed with RS256.',
  }),
  httpJwtIssuer: setting({
    path: 'http.jwt.issuer',
    names: ['HTTP_JWT_ISSUER'],
    kind: text(),
    effect: 'live',
    about: 'What `iss` of a token must be.',
  }),
  httpJwtAudience: setting({
    path: 'http.jwt.audience',
    names: ['HTTP_JWT_AUDIENCE'],
    kind: text(),
    effect: 'live',
    about: 'What `aud` of a token must hold.',
  }),
  httpJwtScope: setting({
    path: 'http.jwt.scope_claim',
    names: ['HTTP_JWT_SCOPE_CLAIM'],
    kind: text(),
    fallback: 'scope',
    effect: 'live',
    about: 'Claim of a token that holds `read`, `write` or `admin`.',
  }),
  httpCors: setting({
    path: 'http.cors_origins',
    names: ['HTTP_CORS_ORIGINS'],
    kind: list(isOrigin, 'origins such as https://board.example, separated by commas'),
    fallback: [],
    about: 'Origins whose pages may call the sidecar from a browser.',
  }),
  httpRate: setting({
    path: 'http.rate_limit',
    names: ['HTTP_RATE_LIMIT'],
    kind: rate(),
    effect: 'live',
    about: 'Requests a client may send in a time, or off. Default: 6000/1m where credentials are asked for, else off.',
  }),
  httpBody: setting({
    path: 'http.body_limit_bytes',
    names: ['HTTP_BODY_LIMIT'],
    kind: bytes(KIB, GIB),
    fallback: MIB,
    about: 'Longest body of a request.',
  }),
} as const
