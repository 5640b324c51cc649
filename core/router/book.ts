import type { RouteDefinition } from './definition.js'

/** What a router keeps until it is committed. */
export interface RouterBook {
  readonly definitions: RouteDefinition[]
  committed: boolean
}

const books = new WeakMap<object, RouterBook>()

export function openBook(router: object): RouterBook {
  const book: RouterBook = { definitions: [], committed: false }
  books.set(router, book)
  return book
}

/** Undefined for what is no router, or a router made by another copy of the package. */
export function bookOf(router: object): RouterBook | undefined {
  return books.get(router)
}
