"""A Modbus server on pymodbus, as an independent partner: KIND FRAMER PORT_OR_PATH [BAUD]."""

import asyncio
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer, StartAsyncUdpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

FRAMERS = {"socket": ModbusSocketFramer, "rtu": ModbusRtuFramer, "ascii": ModbusAsciiFramer}


def unit():
    return ModbusSlaveContext(
        hr=ModbusSequentialDataBlock(0, [1000 + i for i in range(1000)]),
        ir=ModbusSequentialDataBlock(0, [2000 + i for i in range(1000)]),
        co=ModbusSequentialDataBlock(0, [i % 3 == 0 for i in range(2000)]),
        di=ModbusSequentialDataBlock(0, [i % 5 == 0 for i in range(2000)]),
        zero_mode=True,
    )


async def main():
    kind, framer, where = sys.argv[1:4]
    # As units, not single: a unit that is not there must stay silent on a serial line.
    context = ModbusServerContext(slaves={1: unit()}, single=False)
    options = {"context": context, "framer": FRAMERS[framer], "ignore_missing_slaves": True}
    if kind == "tcp":
        await StartAsyncTcpServer(address=("127.0.0.1", int(where)), **options)
    elif kind == "udp":
        await StartAsyncUdpServer(address=("127.0.0.1", int(where)), **options)
    else:
        await StartAsyncSerialServer(port=where, baudrate=int(sys.argv[4]), parity="N", **options)


asyncio.run(main())
