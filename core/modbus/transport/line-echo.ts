/** Whether a line gives back to the gateway what the gateway sends: unknown until a read went over it. */
export type EchoState = 'unknown' | 'absent' | 'present'

/**
 * What is known of one line, across its connections: it is a matter of its wiring. Many two-wire RS-485 adapters hear what
 * they send. To functions 5, 6 and 22 a unit answers with the request itself, so on such a line a write to a dead unit
 * would look confirmed. Answers to reads do not equal their request, but for a few of bits: reads show what the line does.
 */
export class LineEcho {
  readonly #onChange: (state: EchoState) => void
  #state: EchoState = 'unknown'
  #isSet = false

  constructor(onChange: (state: EchoState) => void = () => {}) {
    this.#onChange = onChange
  }

  get state(): EchoState {
    return this.#isSet ? 'present' : this.#state
  }

  /** What people should know, where what they set is not what was heard. */
  get notice(): string | undefined {
    if (this.#isSet) {
      return this.#state === 'absent'
        ? 'LINE_ECHO: local_echo is set, but the line gives nothing back; writes of one register or coil end unknown'
        : undefined
    }
    return this.#state === 'present'
      ? 'LINE_ECHO: the line gives back what is sent to it; it is taken out, with local_echo set from the first byte on'
      : undefined
  }

  /** Set by people who know the wiring: it holds whatever is heard. */
  set(isPresent: boolean): void {
    this.#isSet = isPresent
  }

  /** A read showed what the line does. */
  learned(state: 'absent' | 'present'): void {
    if (state === this.#state) return
    this.#state = state
    this.#onChange(state)
  }
}

const NOTHING: Buffer = Buffer.alloc(0)
/** More than a whole frame, and noise before it. */
const MOST_SEEN = 1_024

/** Takes the echo of each request out of what one connection hears, and learns from reads whether there is one. */
export class EchoFilter {
  readonly #line: LineEcho
  /** The request in flight as it went out; undefined once it is known what came back of it. */
  #frame: Buffer | undefined
  #reads = false
  #isAscii = false
  #isEchoed = false
  #isTaken = false
  /** Something else than the request came back first. */
  #isOther = false
  #seen = NOTHING
  /** Bytes of the frame that came back so far, and all bytes that came since it went out. */
  #matched = 0
  #heard = 0

  constructor(line: LineEcho) {
    this.#line = line
  }

  /** A request goes out as `frame`; as RTU it would have `rtuLength` bytes. It shows what the line does where it `reads`. */
  sent(frame: Buffer, rtuLength: number, reads: boolean): void {
    this.#frame = frame
    this.#reads = reads
    this.#isAscii = frame.length !== rtuLength
    this.#isEchoed = false
    this.#seen = NOTHING
    this.#isTaken = this.#line.state === 'present'
    this.#isOther = false
    this.#matched = 0
    this.#heard = 0
  }

  /** What is left of bytes that came in; nothing while they may be the beginning of the echo. */
  pass(bytes: Buffer): Buffer {
    this.#heard += bytes.length
    const frame = this.#frame
    if (frame === undefined) return bytes
    if (!this.#isTaken) {
      if (this.#reads) this.#look(bytes, frame)
      return bytes
    }
    if (this.#isOther) return bytes
    const length = Math.min(bytes.length, frame.length - this.#matched)
    if (frame.compare(bytes, 0, length, this.#matched, this.#matched + length) !== 0) {
      // Noise or, where there is no echo, the answer. What was held back belongs to it.
      this.#isOther = true
      return this.#matched > 0 ? Buffer.concat([frame.subarray(0, this.#matched), bytes]) : bytes
    }
    this.#matched += length
    if (this.#matched < frame.length) return NOTHING
    this.#echoed()
    return bytes.subarray(length)
  }

  /** Learns from a read. The echo need not come first: something late may lie before it. */
  #look(bytes: Buffer, frame: Buffer): void {
    const seen = this.#seen.length === 0 ? bytes : Buffer.concat([this.#seen, bytes])
    if (seen.includes(frame)) this.#echoed()
    else this.#seen = Buffer.from(seen.subarray(-MOST_SEEN))
  }

  #echoed(): void {
    this.#frame = undefined
    this.#seen = NOTHING
    this.#isEchoed = true
    if (this.#reads) this.#line.learned('present')
  }

  /**
   * True where a frame is the echo, which noise hid from {@link pass}. It is taken out once; what comes like it after that is
   * the answer.
   */
  isEcho(request: Uint8Array, pdu: Buffer): boolean {
    if (!this.#isTaken || this.#frame === undefined || !pdu.equals(request)) return false
    this.#frame = undefined
    return true
  }

  /** The request was answered by `pdu`. A read whose answer is all that came had no echo. */
  answered(pdu: Buffer): void {
    // Unit and CRC around it; as ASCII two characters for each of unit, PDU and LRC, colon, CR and LF.
    const length = this.#isAscii ? 2 * pdu.length + 7 : pdu.length + 3
    if (this.#reads && !this.#isEchoed && this.#heard === length) this.#line.learned('absent')
  }

  /** Nobody answered in time. Nothing at all came back of a read: no echo either. */
  unanswered(): void {
    if (this.#reads && this.#heard === 0 && this.#line.state === 'unknown') this.#line.learned('absent')
  }
}
