let versions = 0

/** A number nobody had before. Of several things a plan was made from, the highest of theirs changes when any of them does. */
export function nextPlanVersion(): number {
  versions += 1
  return versions
}
