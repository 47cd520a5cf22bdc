"""Kafka and schema registry clients from settings: one way to each client's own dotted names.

Two clients read the same settings: librdkafka (confluent-kafka) and the Java client inside Spark. They name the same
things differently, and Java takes its password as a line of a JAAS file and its certificates as PEM text or stores.
The dictionaries hold revealed secrets: pass them to a client, never log them (Spark redacts them).
"""

from __future__ import annotations

from pathlib import Path

from lakehouse.errors import BadSettings
from lakehouse.settings import PREFIX, Settings

LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
# Kafka reads a JAAS line with Java's StreamTokenizer, in which a raw line end closes the string.
JAAS_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def client_config(settings: Settings) -> dict[str, str]:
    """Settings of a librdkafka client (confluent-kafka `Consumer`, `Producer`, `AdminClient`).

    Raises `BadSettings` when credentials or a half of a certificate pair are missing for the security protocol.
    """
    _check_broker_settings(settings)
    config = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
    }
    if _uses_sasl(settings):
        config |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password.get_secret_value(),
        }
    if _uses_tls(settings):
        config |= _filled(
            {
                "ssl.ca.location": settings.kafka_ssl_ca_file,
                "ssl.certificate.location": settings.kafka_ssl_certificate_file,
                "ssl.key.location": settings.kafka_ssl_key_file,
            }
        )
    return config


def spark_options(settings: Settings) -> dict[str, str]:
    """Options of Spark's Kafka source and sink for address and security, all under `kafka.`.

    Certificates are PEM. A certificate and a key in one file are passed by its path, which must then exist on each
    executor; two files are passed as text, because the Java client takes a pair by path only from one file.
    Raises `BadSettings` as `client_config` does, and for a key that the Java client can't read (it takes PKCS#8 only).
    """
    _check_broker_settings(settings)
    options = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
    }
    if _uses_sasl(settings):
        options |= {"sasl.mechanism": settings.kafka_sasl_mechanism, "sasl.jaas.config": _jaas_line(settings)}
    if _uses_tls(settings):
        options |= _java_truststore(settings) | _java_keystore(settings)
    return {f"kafka.{name}": value for name, value in options.items()}


def registry_config(settings: Settings) -> dict[str, str]:
    """Settings of confluent-kafka's `SchemaRegistryClient`: address, basic authentication, TLS.

    Raises `BadSettings` when the user name holds a colon, which basic authentication can't carry.
    """
    config = {"url": settings.schema_registry_url}
    if settings.schema_registry_username:
        if ":" in settings.schema_registry_username:
            raise BadSettings([f"{PREFIX}SCHEMA_REGISTRY_USERNAME: a user name of basic authentication holds no colon"])
        password = settings.schema_registry_password.get_secret_value()
        config["basic.auth.user.info"] = f"{settings.schema_registry_username}:{password}"
    return config | _filled(
        {
            "ssl.ca.location": settings.schema_registry_ca_file,
            "ssl.certificate.location": settings.schema_registry_certificate_file,
            "ssl.key.location": settings.schema_registry_key_file,
        }
    )


def _uses_sasl(settings: Settings) -> bool:
    return settings.kafka_security_protocol.startswith("SASL_")


def _uses_tls(settings: Settings) -> bool:
    return settings.kafka_security_protocol.endswith("SSL")


def _filled(config: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in config.items() if value}


def _check_broker_settings(settings: Settings) -> None:
    problems = []
    if _uses_sasl(settings):
        if not settings.kafka_sasl_username:
            problems.append(f"{PREFIX}KAFKA_SASL_USERNAME: needed for {settings.kafka_security_protocol}")
        if not settings.kafka_sasl_password.get_secret_value():
            problems.append(f"{PREFIX}KAFKA_SASL_PASSWORD: needed for {settings.kafka_security_protocol}")
    if bool(settings.kafka_ssl_certificate_file) != bool(settings.kafka_ssl_key_file):
        problems.append(f"{PREFIX}KAFKA_SSL_CERTIFICATE_FILE and {PREFIX}KAFKA_SSL_KEY_FILE: set both or none")
    if problems:
        raise BadSettings(problems)


def _jaas_line(settings: Settings) -> str:
    user = settings.kafka_sasl_username.translate(JAAS_ESCAPES)
    password = settings.kafka_sasl_password.get_secret_value().translate(JAAS_ESCAPES)
    return f'{LOGIN_MODULES[settings.kafka_sasl_mechanism]} required username="{user}" password="{password}";'


def _java_truststore(settings: Settings) -> dict[str, str]:
    if not settings.kafka_ssl_ca_file:
        return {}
    return {"ssl.truststore.type": "PEM", "ssl.truststore.location": settings.kafka_ssl_ca_file}


def _java_keystore(settings: Settings) -> dict[str, str]:
    if not settings.kafka_ssl_key_file:
        return {}
    key = _pem_text(settings.kafka_ssl_key_file, "KAFKA_SSL_KEY_FILE")
    if "-----BEGIN PRIVATE KEY-----" not in key:
        raise BadSettings(
            [
                f"{PREFIX}KAFKA_SSL_KEY_FILE: Spark's Kafka client reads unencrypted PKCS#8 keys (BEGIN PRIVATE KEY); "
                "convert it with `openssl pkcs8 -topk8 -nocrypt`"
            ]
        )
    if settings.kafka_ssl_key_file == settings.kafka_ssl_certificate_file:
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": settings.kafka_ssl_key_file}
    chain = _pem_text(settings.kafka_ssl_certificate_file, "KAFKA_SSL_CERTIFICATE_FILE")
    return {"ssl.keystore.type": "PEM", "ssl.keystore.certificate.chain": chain, "ssl.keystore.key": key}


def _pem_text(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings([f"{PREFIX}{variable}: no PEM file can be read at {path} ({type(error).__name__})"]) from None
