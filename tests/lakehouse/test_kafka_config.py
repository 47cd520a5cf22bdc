"""Kafka and registry clients get credentials and TLS from settings, in each client's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.errors import BadSettings
from lakehouse.kafka_config import client_config, registry_config, spark_options
from lakehouse.settings import Settings


def settings_with(**values: object) -> Settings:
    return Settings(_env_file=None, kafka_bootstrap_servers="broker:9093", **values)  # type: ignore[arg-type]


def sasl(**values: object) -> Settings:
    given = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "lake", "kafka_sasl_password": "pw"}
    return settings_with(**given | values)


@pytest.fixture
def pem_pair(tmp_path: Path) -> tuple[str, str]:
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_text("-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n")
    key.write_text("-----BEGIN PRIVATE KEY-----\nBB\n-----END PRIVATE KEY-----\n")
    return str(certificate), str(key)


def java_reads(quoted: str) -> str:
    """What Java's StreamTokenizer makes of a string in double quotes (the escapes that matter here)."""
    plain, characters = "", iter(quoted)
    for character in characters:
        if character == '"':
            return plain
        plain += {"n": "\n", "t": "\t", "r": "\r"}.get(x := next(characters), x) if character == "\\" else character
    raise AssertionError("the string is not closed")


def test_plaintext_needs_only_an_address() -> None:
    assert client_config(settings_with()) == {"bootstrap.servers": "broker:9093", "security.protocol": "PLAINTEXT"}
    assert spark_options(settings_with()) == {
        "kafka.bootstrap.servers": "broker:9093",
        "kafka.security.protocol": "PLAINTEXT",
    }


def test_sasl_reaches_librdkafka_as_it_is() -> None:
    config = client_config(sasl(kafka_sasl_password='a"b\\c', kafka_ssl_ca_file="/ca.pem"))
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert config["sasl.username"] == "lake"
    assert config["sasl.password"] == 'a"b\\c'
    assert config["ssl.ca.location"] == "/ca.pem"


@pytest.mark.parametrize(
    "password", ["plain", 'quo"te', "back\\slash", '\\"', "end\\", "semi;colon", "it's", "a\nb\tc", "ü"]
)
def test_java_reads_back_the_password_of_the_jaas_line(password: str) -> None:
    line = spark_options(sasl(kafka_sasl_password=password))["kafka.sasl.jaas.config"]
    head, _, rest = line.partition('password="')
    assert head == 'org.apache.kafka.common.security.scram.ScramLoginModule required username="lake" '
    assert java_reads(rest) == password
    assert line.endswith('";')
    assert "\n" not in line


def test_plain_has_its_own_login_module() -> None:
    line = spark_options(sasl(kafka_sasl_mechanism="PLAIN"))["kafka.sasl.jaas.config"]
    assert line.startswith("org.apache.kafka.common.security.plain.PlainLoginModule required ")


def test_sasl_without_tls_passes_no_certificates() -> None:
    options = spark_options(sasl(kafka_security_protocol="SASL_PLAINTEXT", kafka_ssl_ca_file="/ca.pem"))
    assert not [name for name in options if ".ssl." in name]


def test_missing_credentials_are_named_together() -> None:
    with pytest.raises(BadSettings) as caught:
        client_config(settings_with(kafka_security_protocol="SASL_SSL", kafka_ssl_key_file="/key.pem"))
    assert "LAKEHOUSE_KAFKA_SASL_USERNAME" in str(caught.value)
    assert "LAKEHOUSE_KAFKA_SASL_PASSWORD" in str(caught.value)
    assert "LAKEHOUSE_KAFKA_SSL_CERTIFICATE_FILE" in str(caught.value)


def test_a_certificate_pair_reaches_both_clients(pem_pair: tuple[str, str]) -> None:
    certificate, key = pem_pair
    mutual = settings_with(
        kafka_security_protocol="SSL",
        kafka_ssl_ca_file="/ca.pem",
        kafka_ssl_certificate_file=certificate,
        kafka_ssl_key_file=key,
    )
    assert client_config(mutual)["ssl.key.location"] == key
    options = spark_options(mutual)
    assert options["kafka.ssl.truststore.type"] == options["kafka.ssl.keystore.type"] == "PEM"
    assert options["kafka.ssl.truststore.location"] == "/ca.pem"
    assert "BEGIN CERTIFICATE" in options["kafka.ssl.keystore.certificate.chain"]
    assert "BEGIN PRIVATE KEY" in options["kafka.ssl.keystore.key"]


def test_one_file_with_both_is_passed_by_its_path(pem_pair: tuple[str, str]) -> None:
    certificate, key = pem_pair
    Path(key).write_text(Path(key).read_text() + Path(certificate).read_text())
    options = spark_options(
        settings_with(kafka_security_protocol="SSL", kafka_ssl_certificate_file=key, kafka_ssl_key_file=key)
    )
    assert options["kafka.ssl.keystore.location"] == key
    assert "kafka.ssl.keystore.key" not in options


def test_a_key_that_java_cannot_read_is_refused_with_the_cure(pem_pair: tuple[str, str]) -> None:
    certificate, key = pem_pair
    Path(key).write_text("-----BEGIN RSA PRIVATE KEY-----\nBB\n-----END RSA PRIVATE KEY-----\n")
    with pytest.raises(BadSettings, match="openssl pkcs8"):
        spark_options(
            settings_with(kafka_security_protocol="SSL", kafka_ssl_certificate_file=certificate, kafka_ssl_key_file=key)
        )


def test_a_missing_key_file_is_named_with_its_variable(pem_pair: tuple[str, str]) -> None:
    certificate, _ = pem_pair
    with pytest.raises(BadSettings, match=r"LAKEHOUSE_KAFKA_SSL_KEY_FILE.*/nowhere"):
        spark_options(
            settings_with(
                kafka_security_protocol="SSL", kafka_ssl_certificate_file=certificate, kafka_ssl_key_file="/nowhere"
            )
        )


def test_the_registry_gets_basic_authentication_and_tls() -> None:
    config = registry_config(
        settings_with(
            schema_registry_url="https://registry",
            schema_registry_username="lake",
            schema_registry_password='p:"w',
            schema_registry_ca_file="/ca.pem",
        )
    )
    assert config == {
        "url": "https://registry",
        "basic.auth.user.info": 'lake:p:"w',
        "ssl.ca.location": "/ca.pem",
    }


def test_the_registry_gets_this_clients_certificate_and_key() -> None:
    config = registry_config(
        settings_with(
            schema_registry_url="https://registry",
            schema_registry_certificate_file="/client.pem",
            schema_registry_key_file="/client.key",
        )
    )
    assert config == {
        "url": "https://registry",
        "ssl.certificate.location": "/client.pem",
        "ssl.key.location": "/client.key",
    }


def test_a_registry_without_a_user_gets_no_authentication() -> None:
    assert registry_config(settings_with(schema_registry_url="http://registry")) == {"url": "http://registry"}


def test_a_colon_in_the_registry_user_is_refused() -> None:
    with pytest.raises(BadSettings, match="no colon"):
        registry_config(settings_with(schema_registry_username="a:b"))
