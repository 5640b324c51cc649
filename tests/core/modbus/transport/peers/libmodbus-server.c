/* A Modbus server on libmodbus, as an independent partner: `tcp` or `rtu PATH BAUD UNIT`. Prints "ready PORT". */
#include <arpa/inet.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static modbus_mapping_t *memory(void) {
  modbus_mapping_t *map = modbus_mapping_new(2000, 2000, 1000, 1000);
  for (int i = 0; i < 1000; i++) {
    map->tab_registers[i] = 1000 + i;
    map->tab_input_registers[i] = 2000 + i;
  }
  for (int i = 0; i < 2000; i++) {
    map->tab_bits[i] = i % 3 == 0;
    map->tab_input_bits[i] = i % 5 == 0;
  }
  return map;
}

static void serve(modbus_t *context, modbus_mapping_t *map) {
  uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
  for (;;) {
    int length = modbus_receive(context, query);
    if (length > 0) modbus_reply(context, query, length, map);
    else if (length == -1 && modbus_get_header_length(context) == 7) return;
  }
}

int main(int argc, char **argv) {
  modbus_mapping_t *map = memory();
  setvbuf(stdout, NULL, _IONBF, 0);
  if (argc > 1 && strcmp(argv[1], "tcp") == 0) {
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    int listening = modbus_tcp_listen(context, 4);
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    getsockname(listening, (struct sockaddr *)&address, &size);
    printf("ready %d\n", ntohs(address.sin_port));
    for (;;) {
      if (modbus_tcp_accept(context, &listening) == -1) return 1;
      serve(context, map);
      modbus_close(context);
    }
  }
  if (argc == 5 && strcmp(argv[1], "rtu") == 0) {
    modbus_t *context = modbus_new_rtu(argv[2], atoi(argv[3]), 'N', 8, 1);
    modbus_set_slave(context, atoi(argv[4]));
    if (modbus_connect(context) == -1) return 1;
    printf("ready 0\n");
    serve(context, map);
  }
  return 2;
}
