#!/bin/sh
# Makes the password file from the environment, so that no password stands in an image or a repository.
set -eu
mkdir -p /mosquitto/secrets
rm -f /mosquitto/secrets/passwords
touch /mosquitto/secrets/passwords
chmod 0700 /mosquitto/secrets/passwords
mosquitto_passwd -b /mosquitto/secrets/passwords "$MQTT_USERNAME" "$MQTT_PASSWORD"
chown -R mosquitto:mosquitto /mosquitto/secrets
exec mosquitto -c /mosquitto/config/mosquitto.conf
