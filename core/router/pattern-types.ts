import type { ParamType } from './constraints.js'

/** The values that a parameter type gives to handlers. */
interface ParamTypeValues {
  int: number
  number: number
  bool: boolean
  uuid: string
  slug: string
  alpha: string
  alnum: string
  hex: string
}

/** `a|b|c` as a union of its alternatives. */
type Alternatives<Text extends string> = Text extends `${infer First}|${infer Rest}` ? First | Alternatives<Rest> : Text

/** Types by name, anything else stands for itself: `{kind:holding|input}`. */
type ValueOf<Alternative extends string> = Alternative extends ParamType ? ParamTypeValues[Alternative] : Alternative

type ParamOf<Inner extends string> = Inner extends `${infer Name}*`
  ? { readonly [K in Name]: string }
  : Inner extends `${infer Name}:${infer Constraint}`
    ? { readonly [K in Name]: ValueOf<Alternatives<Constraint>> }
    : { readonly [K in Inner]: string }

/** Walks the levels; `Count` holds one element for each bare wildcard seen so far. */
type Walk<Text extends string, Count extends readonly unknown[]> = Text extends `${infer Level}/${infer Rest}`
  ? LevelParams<Level, Count> & Walk<Rest, Level extends '+' ? readonly [...Count, 0] : Count>
  : LevelParams<Text, Count>

type LevelParams<Level extends string, Count extends readonly unknown[]> = Level extends '+' | '#'
  ? { readonly [K in `${Count['length'] & number}`]: string }
  : Level extends `{${infer Inner}}`
    ? ParamOf<Inner>
    : unknown

type Flatten<T> = { readonly [K in keyof T]: T[K] }

/** The parameters of a pattern, typed: `ParamsOf<'a/{id:int}/+'>` is `{ id: number; 0: string }`. */
export type ParamsOf<Text extends string> = string extends Text
  ? Readonly<Record<string, string | number | boolean>>
  : Flatten<Walk<Text, readonly []>>

/** A group's prefix and a pattern, joined as the router joins them. */
export type Join<Prefix extends string, Text extends string> = Prefix extends ''
  ? Text
  : Text extends ''
    ? Prefix
    : `${Prefix}/${Text}`
