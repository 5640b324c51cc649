// What is used of qlobber, which ships no types.
declare module 'qlobber' {
  export class Qlobber<T> {
    constructor(options: { separator: string; wildcard_one: string; wildcard_some: string; cache_adds: boolean })
    add(topic: string, value: T): this
    match(topic: string): T[]
  }
}
