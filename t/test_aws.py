"""nginx on AWS: which credentials it takes, and what Google makes of them.

The emulator is the metadata service, the container agents and AWS's STS, and
it sends the signed GetCallerIdentity to itself as Google's STS would.
"""

from __future__ import annotations

import json
import re
import time

import pytest

from conftest import SANITIZE
from emulator import link_local
from harness.nginx import wait_until

IAM = "https://www.googleapis.com/auth/iam"
READ = "https://www.googleapis.com/auth/devstorage.read_only"
TARGET = "target@demo-project.iam.gserviceaccount.com"
ROLE = "arn:aws:sts::111122223333:assumed-role/media"
ISSUER = "https://oidc.eks.example.com/id/1"
POD = "system:serviceaccount:default:nginx"

BLOCK = """
    gcs_credentials aws {
        workload_identity_pool my-pool;
        workload_identity_provider my-provider;
        project_number 123456789012;
        %s
        subject_token aws;
        sts_endpoint %%%%EMULATOR%%%%/v1/token;
        iam_endpoint %%%%EMULATOR%%%%;
    }
    %s
    gcs_auth aws;
    gcs_endpoint %%%%EMULATOR%%%%;
"""
MEDIA = """
    location /media/ { gcs_pass gs://test-bucket/;
                       add_header X-Error $gcs_error always; }
"""


@pytest.fixture
def google(emulator, bucket):
    """An AWS provider, and an account that its role may be."""
    emulator.put_object(bucket, "a.txt", b"hello", content_type="text/plain")
    emulator.aws_role("media")
    emulator.aws_role("node")
    emulator.provider = emulator.add_provider(kind="aws")
    emulator.add_service_account(
        TARGET, grants={bucket: ["objectViewer"]},
        policy={"roles/iam.workloadIdentityUser": [
            emulator.provider.principal_set("aws_role", ROLE)]})
    return emulator


def environment(google, **more):
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": google.imds_url,
            "AWS_ENDPOINT_URL_STS": google.aws_sts_url,
            **{k: v for k, v in more.items() if v is not None}}


@pytest.fixture
def serve(nginx, google):
    def make(*, account=f"service_account {TARGET};", http="", server=MEDIA,
             start=True, **env):
        return nginx(BLOCK % (account, http), server=server, start=start,
                     env=environment(google, **env))

    return make


def keys_of(made):
    """Keys as variables of the environment."""
    return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_SESSION_TOKEN": made["Token"]}


def served(server):
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.body) == (200, b"hello"), server.log()
    return True


def refused(server, word, pattern, status=502):
    """One line with cause and remedy, the word, nothing served."""
    answer = server.get("/media/a.txt")
    assert answer.status == status, server.log()
    assert answer.get("X-Error") == word, server.log()
    lines = server.lines("error", "token could not be fetched")
    assert len(lines) == 1, server.log()
    assert re.search(pattern, lines[0]), lines[0]
    return True


def caller(google):
    """Whom Google's STS saw last."""
    record = google.requests("sts")[-1]
    return record["account"].partition("/subject/")[2]


# the environment

def test_keys_of_the_environment_are_taken(serve, google):
    keys = google.aws_session("media", "i-0abc")
    assert served(serve(AWS_REGION="us-east-2", **keys_of(keys)))
    assert google.counts() == {"sts": 1, "iam": 1, "storage": 1}
    assert caller(google) == ROLE + "/i-0abc"
    [sts], [iam] = google.requests("sts"), google.requests("iam")
    assert sts["form"]["scope"] == IAM
    assert sts["aws_access_key_id"] == keys["AccessKeyId"]
    assert sts["subject"]["url"] == (
        "https://sts.us-east-2.amazonaws.com?Action=GetCallerIdentity"
        "&Version=2011-06-15")
    assert iam["json"]["scope"] == [READ]


def test_keys_of_a_user_have_no_session_token(serve, google, bucket):
    user = google.aws_user("alice")
    principal = google.provider.principal(
        "arn:aws:iam::111122223333:user/alice")
    google.grant(principal, bucket, ["objectViewer"])
    assert served(serve(account="", AWS_REGION="us-east-2",
                        **keys_of({**user, "Token": None})))
    [record] = google.requests("sts")
    assert not any(item["key"].lower() == "x-amz-security-token"
                   for item in record["subject"]["headers"])
    assert google.requests("storage")[0]["account"] == principal
    assert record["form"]["scope"] == READ


@pytest.mark.parametrize("env, region", [
    ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "us-west-1"},
     "eu-west-3"),
    ({"AWS_DEFAULT_REGION": "us-gov-west-1"}, "us-gov-west-1"),
    ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "ap-south-2"}, "ap-south-2")])
def test_the_region_of_the_environment_is_taken(serve, google, env, region):
    assert served(serve(**env, **keys_of(google.aws_session("media"))))
    [record] = google.requests("sts")
    assert record["subject"]["url"].startswith(f"https://sts.{region}.")
    assert "imds" not in google.counts()


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID",
                                     "AWS_SECRET_ACCESS_KEY"])
def test_half_a_key_in_the_environment_is_none(serve, google, missing):
    google.instance(role="media")
    keys = keys_of(google.aws_session("media"))
    assert served(serve(**{**keys, missing: None}))
    assert google.requests("sts")[0]["aws_access_key_id"] \
        != keys["AWS_ACCESS_KEY_ID"]


@pytest.mark.parametrize("name, value", [
    ("AWS_ACCESS_KEY_ID", "AK IA"), ("AWS_SECRET_ACCESS_KEY", "a\x01b" * 5),
    ("AWS_SESSION_TOKEN", "a\nb"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\nb"),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://example.com"),
    ("AWS_ENDPOINT_URL_STS", "http://example.com"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x")])
def test_a_broken_variable_is_named_at_nginx_t(serve, google, name, value):
    env = {**keys_of(google.aws_session("media")), "AWS_REGION": "us-east-2",
           name: value}
    said = serve(start=False, **env).refusal()
    assert name in said and "environment" in said
    assert value not in said


def test_the_environment_is_not_asked_where_nothing_is_aws(nginx, emulator,
                                                           key_file):
    done = nginx("gcs_credentials a { file %%KEY%%; }", start=False,
                 env={"AWS_ENDPOINT_URL_STS": "http://x/"}).test()
    assert done.returncode == 0, done.stderr


# the metadata service of the instance

def imds(google):
    return [(r["method"], r["target"].removeprefix("/latest/"), r["status"])
            for r in google.requests("imds")]


PLACE = "meta-data/iam/security-credentials"
ZONE = "meta-data/placement/availability-zone"


def test_version_two_of_the_metadata_service_is_asked_with_a_token(
        serve, google):
    google.instance(role="media")
    assert served(serve())
    assert imds(google) == [
        ("PUT", "api/token", 200), ("GET", ZONE, 200), ("GET", PLACE, 200),
        ("GET", PLACE + "/media", 200)]
    assert all(r["credential"] == "valid"
               for r in google.requests("imds")[1:])
    assert caller(google) == ROLE + "/i-0123456789abcdef0"


def test_a_slash_behind_the_endpoint_is_none_of_the_path(serve, google):
    google.instance(role="media")
    assert served(serve(
        AWS_EC2_METADATA_SERVICE_ENDPOINT=google.imds_url + "/"))
    assert imds(google)[0] == ("PUT", "api/token", 200)


def test_version_one_is_asked_where_there_is_no_other(serve, google):
    google.instance(role="media", version=1)
    assert served(serve())
    assert imds(google) == [
        ("PUT", "api/token", 404), ("GET", ZONE, 200), ("GET", PLACE, 200),
        ("GET", PLACE + "/media", 200)]
    assert not any("token" in name.lower() for r in
                   google.requests("imds")[1:] for name, _ in r["headers"])


def test_an_answer_that_is_lost_behind_a_hop_leads_to_version_one(
        serve, google):
    """A container on an instance whose hop limit is one."""
    google.instance(role="media", optional=True)
    google.fault(kind="imds", path="/latest/api/token", hang=True)
    start = time.monotonic()
    assert served(serve())
    assert time.monotonic() - start < 6
    assert [method for method, _, _ in imds(google)] == ["PUT"] + ["GET"] * 3


def test_a_lost_answer_where_version_two_is_demanded_is_told(serve, google):
    google.instance(role="media")
    google.fault(kind="imds", path="/latest/api/token", hang=True)
    assert refused(serve(), "no_aws_role", "AWS metadata service.*hop limit")


def test_the_region_of_the_environment_spares_a_question(serve, google):
    google.instance(role="media")
    assert served(serve(AWS_REGION="eu-north-1"))
    assert [target for _, target, _ in imds(google)] == [
        "api/token", PLACE, PLACE + "/media"]
    assert google.requests("sts")[0]["subject"]["url"].startswith(
        "https://sts.eu-north-1.amazonaws.com?")


def test_keys_of_the_environment_need_the_region_alone(serve, google):
    google.instance(role="node", zone="eu-west-1c")
    assert served(serve(**keys_of(google.aws_session("media"))))
    assert [target for _, target, _ in imds(google)] == ["api/token", ZONE]
    assert google.requests("sts")[0]["subject"]["url"].startswith(
        "https://sts.eu-west-1.amazonaws.com?")


@pytest.mark.parametrize("zone, region", [
    ("us-east-2b", "us-east-2"), ("ap-southeast-3a", "ap-southeast-3"),
    ("us-west-2-lax-1a", "us-west-2"),
    ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
    ("us-gov-west-1b", "us-gov-west-1")])
def test_the_region_of_a_zone_is_found(serve, google, zone, region):
    google.instance(role="media", zone=zone)
    assert served(serve())
    assert google.requests("sts")[0]["subject"]["url"].startswith(
        f"https://sts.{region}.amazonaws.com?")


def test_china_has_a_domain_of_its_own(serve, google):
    """Google's file names amazonaws.com for all; so is it signed."""
    google.instance(role="media", zone="cn-north-1a")
    serve().get("/media/a.txt")
    [record] = google.requests("sts")
    assert record["subject"]["url"].startswith("https://sts.cn-north-1.")


@pytest.mark.parametrize("body", ["", "x" * 5000, "a b", "nowhere", "-1a",
                                  "<html>"])
def test_a_zone_that_is_none_is_told(serve, google, body):
    google.instance(role="media")
    google.fault(kind="imds", path="/latest/" + ZONE, status=200, body=body,
                 count=None)
    assert refused(serve(), "token_unavailable",
                   "AWS metadata service.*zone")


def test_an_instance_without_a_role_is_told(serve, google):
    google.instance(role=None)
    assert refused(serve(), "no_aws_role",
                   "AWS metadata service.*no role is attached")


def test_a_metadata_service_that_is_switched_off_is_told(serve, google):
    google.instance(role="media", disabled=True)
    assert refused(serve(), "no_aws_role",
                   "AWS metadata service.*switched off")


@pytest.mark.parametrize("status", [500, 503])
def test_a_metadata_service_in_trouble_is_asked_again(serve, google, status):
    google.instance(role="media")
    google.fault(kind="imds", path=f"/latest/{PLACE}/media", status=status)
    server = serve()
    server.wait_log("token could not be fetched")
    wait_until(lambda: server.get("/media/a.txt").status == 200)


@pytest.mark.parametrize("body, words", [
    ("", "gave no keys"), ("<html>", "gave no keys"),
    ('{"Code": "Success"}', "gave no keys"),
    ('{"Code": "AssumeRoleUnauthorizedAccess", "Message": "x"}',
     "gave no keys"),
    ('{"Code": "Success", "AccessKeyId": "", "SecretAccessKey": "", '
     '"Token": ""}', "gave no keys")])
def test_keys_that_are_none_are_told(serve, google, body, words):
    google.instance(role="media")
    google.fault(kind="imds", path=f"/latest/{PLACE}/media", status=200,
                 body=body, count=None)
    assert refused(serve(), "token_unavailable", words)


def test_keys_are_asked_for_again_at_each_exchange(serve, google):
    """So those that were rotated or have expired are never signed with."""
    google.instance(role="media")
    google.configure(token_lifetime=3)
    server = serve()
    assert served(server)
    google.aws_rotate()
    time.sleep(3.2)
    assert served(server)
    used = [r["aws_access_key_id"] for r in google.requests("sts")]
    assert len(set(used)) >= 2
    assert {r["status"] for r in google.requests("sts")} == {200}


def test_expired_keys_are_renewed_at_the_next_exchange(serve, google):
    google.instance(role="media")
    google.fault(kind="sts", status=400, count=1, body=json.dumps({
        "error": "invalid_grant", "error_description": "Received invalid AWS "
        "response of type ExpiredToken with error message: The security "
        "token included in the request is expired"}))
    server = serve()
    server.wait_log("token could not be fetched")
    google.aws_rotate()
    wait_until(lambda: server.get("/media/a.txt").status == 200)
    assert len(google.requests("imds")) == 8


# EKS: IRSA

@pytest.fixture
def web_identity(google, tmp_path):
    """A pod's role, and the projected token."""
    arn = google.aws_role("media", issuer=ISSUER, subject=POD)
    path = tmp_path / "web-identity-token"
    path.write_text(google.oidc_token(subject=POD, issuer=ISSUER,
                                      audience="sts.amazonaws.com") + "\n")
    google.instance(role="node")
    return {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": arn,
            "AWS_REGION": "us-east-2"}


def test_a_web_identity_comes_before_the_role_of_the_node(
        serve, google, web_identity):
    assert served(serve(**web_identity))
    assert google.counts() == {"aws-sts": 1, "sts": 1, "iam": 1,
                               "storage": 1}
    assert caller(google) == ROLE + "/ngx-gcs-proxy"
    [record] = google.requests("aws-sts")
    assert record["method"] == "POST" and record["body_size"] > 0
    assert "?" not in record["target"]
    assert record["form"]["RoleArn"] == web_identity["AWS_ROLE_ARN"]
    assert record["form"]["WebIdentityToken"].count(".") == 2


def test_the_session_name_of_the_environment_is_taken(serve, google,
                                                      web_identity):
    assert served(serve(**web_identity, AWS_ROLE_SESSION_NAME="me@pod=1"))
    assert caller(google) == ROLE + "/me@pod=1"


def test_the_region_of_a_pod_may_come_from_the_instance(serve, google,
                                                        web_identity):
    assert served(serve(**{**web_identity, "AWS_REGION": None}))
    assert [target for _, target, _ in imds(google)] == ["api/token", ZONE]
    assert caller(google).startswith(ROLE)


def test_a_web_identity_comes_before_a_container_and_after_keys(
        serve, google, web_identity):
    url = google.container_credentials("node")
    assert served(serve(**web_identity,
                        AWS_CONTAINER_CREDENTIALS_FULL_URI=url))
    assert "container" not in google.counts()
    google.reset_requests()
    keys = google.aws_session("media", "keys")
    assert served(serve(**web_identity, **keys_of(keys)))
    assert "aws-sts" not in google.counts()
    assert caller(google) == ROLE + "/keys"


def test_a_projected_token_that_is_replaced_is_read_again(
        serve, google, web_identity, tmp_path):
    google.configure(token_lifetime=3)
    server = serve(**web_identity)
    assert served(server)
    token = google.oidc_token(subject=POD, issuer=ISSUER, jti="second",
                              audience="sts.amazonaws.com")
    (tmp_path / "new").write_text(token)
    (tmp_path / "new").replace(web_identity["AWS_WEB_IDENTITY_TOKEN_FILE"])
    wait_until(lambda: served(server) and google.requests("aws-sts")[-1][
        "form"]["WebIdentityToken"] == token, 15)


@pytest.mark.parametrize("change, pattern", [
    ({"subject": "system:serviceaccount:default:other"},
     "AWS STS.*trust policy"),
    ({"lifetime": -1}, "AWS STS.*expired"),
    ({"issuer": "https://other.example.com"}, "AWS STS.*OIDC provider"),
    ({"audience": "other"}, "AWS STS.*web identity token")])
def test_a_trust_policy_that_denies_is_told(serve, google, web_identity,
                                            change, pattern):
    with open(web_identity["AWS_WEB_IDENTITY_TOKEN_FILE"], "w") as file:
        file.write(google.oidc_token(**{
            "subject": POD, "issuer": ISSUER,
            "audience": "sts.amazonaws.com", **change}))
    assert refused(serve(**web_identity), "aws_role_denied", pattern)


@pytest.mark.parametrize("content, pattern", [
    (None, "AWS web identity token.*No such file"),
    ("", "AWS web identity token.*empty"), (" \n", "empty")])
def test_a_projected_token_that_is_not_there_is_told(
        serve, google, web_identity, tmp_path, content, pattern):
    path = tmp_path / "other"
    if content is not None:
        path.write_text(content)
    server = serve(**{**web_identity,
                      "AWS_WEB_IDENTITY_TOKEN_FILE": str(path)})
    assert refused(server, "token_unavailable", pattern)
    assert "imds" not in google.counts()   # not as the node instead


@pytest.mark.parametrize("name, value", [
    ("AWS_ROLE_ARN", "not an arn"), ("AWS_ROLE_SESSION_NAME", "a b")])
def test_a_role_that_is_none_is_told(serve, google, web_identity, name,
                                     value):
    assert refused(serve(**{**web_identity, name: value}),
                   "token_unavailable", name)


# EKS Pod Identity, ECS

def test_the_agent_of_a_container_comes_before_the_node(serve, google):
    google.instance(role="node")
    url = google.container_credentials("media")
    assert served(serve(AWS_REGION="us-east-2",
                        AWS_CONTAINER_CREDENTIALS_FULL_URI=url))
    assert google.counts() == {"container": 1, "sts": 1, "iam": 1,
                               "storage": 1}
    assert caller(google) == ROLE + "/task"


def test_the_token_of_the_agent_is_sent_as_it_is(serve, google):
    url = google.container_credentials("media", authorization="Basic abc=")
    assert served(serve(AWS_REGION="us-east-2",
                        AWS_CONTAINER_CREDENTIALS_FULL_URI=url,
                        AWS_CONTAINER_AUTHORIZATION_TOKEN="Basic abc="))
    assert google.requests("container")[0]["credential"] == "valid"


def test_the_token_file_of_pod_identity_is_read_at_each_exchange(
        serve, google, tmp_path):
    path = tmp_path / "eks-pod-identity-token"
    path.write_text("first-token-of-the-pod\n")
    url = google.container_credentials(
        "media", path="/v1/credentials",
        authorization="first-token-of-the-pod")
    google.configure(token_lifetime=3)
    server = serve(AWS_REGION="us-east-2",
                   AWS_CONTAINER_CREDENTIALS_FULL_URI=url,
                   AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(path))
    assert served(server)
    path.write_text("second-token-of-the-pod\n")
    google.container_credentials("media", path="/v1/credentials",
                                 authorization="second-token-of-the-pod")
    wait_until(lambda: served(server)
               and len(google.requests("container")) >= 2, 15)
    assert {r["credential"] for r in google.requests("container")[1:]} \
        <= {"valid"}


def test_the_file_of_the_agents_token_comes_before_the_environment(
        serve, google, tmp_path):
    """So it is with AWS's own clients."""
    path = tmp_path / "token"
    path.write_text("of the file")
    url = google.container_credentials("media", authorization="of the file")
    assert served(serve(
        AWS_REGION="us-east-2", AWS_CONTAINER_CREDENTIALS_FULL_URI=url,
        AWS_CONTAINER_AUTHORIZATION_TOKEN="of the environment",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(path)))


@pytest.mark.parametrize("token, status", [(None, 401), ("wrong", 403)])
def test_an_agent_that_refuses_is_told(serve, google, token, status):
    google.instance(role="media")
    url = google.container_credentials("media", authorization="right")
    server = serve(AWS_REGION="us-east-2",
                   AWS_CONTAINER_CREDENTIALS_FULL_URI=url,
                   AWS_CONTAINER_AUTHORIZATION_TOKEN=token)
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    [line] = server.lines("error", "token could not be fetched")
    assert re.search(f"AWS container credentials.* {status}", line), line
    assert "imds" not in google.counts()


@pytest.fixture
def link_local_library(google, tmp_path):
    """Leads the addresses of metadata services to the emulator."""
    if SANITIZE:
        pytest.skip("the sanitizers' library must be the first one")
    return {"LD_PRELOAD": str(link_local.library(tmp_path,
                                                 google.http_port))}


def test_a_relative_uri_is_that_of_ecs(serve, google, link_local_library):
    google.instance(role="node")
    google.container_credentials("media", path="/v2/credentials/1")
    assert served(serve(
        AWS_REGION="us-east-2",
        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/v2/credentials/1",
        AWS_CONTAINER_CREDENTIALS_FULL_URI=google.url + "/other",
        **link_local_library))
    [record] = google.requests("container")
    assert (record["host"], record["target"]) \
        == ("169.254.170.2", "/v2/credentials/1")
    assert caller(google) == ROLE + "/task"


def test_the_metadata_service_is_at_its_address(nginx, google,
                                                link_local_library):
    """Without a word of the environment, as on an instance."""
    google.instance(role="media")
    server = nginx(BLOCK % (f"service_account {TARGET};", ""), server=MEDIA,
                   env=link_local_library)
    assert served(server)
    assert {record["host"] for record in google.requests("imds")} \
        == {"169.254.169.254"}


@pytest.mark.parametrize("url", [
    "http://169.254.170.2/x", "http://169.254.170.23/v1/credentials",
    "http://[fd00:ec2::23]/v1/credentials", "http://127.0.0.1:1/x",
    "http://localhost/x", "https://example.com/x"])
def test_a_container_url_that_aws_allows_is_accepted(serve, google, url):
    done = serve(start=False, AWS_CONTAINER_CREDENTIALS_FULL_URI=url).test()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("url", [
    "http://169.254.170.24/x", "http://example.com/x", "ftp://127.0.0.1/x",
    "http://127.0.0.1.example.com/", "http://a@127.0.0.1/", "x"])
def test_a_container_url_that_aws_refuses_is_refused(serve, google, url):
    said = serve(start=False, AWS_CONTAINER_CREDENTIALS_FULL_URI=url) \
        .refusal()
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in said


# Google's side

def test_a_condition_that_is_not_met_is_told(serve, google):
    google.update_provider(google.provider,
                           condition="attribute.aws_role == 'other'")
    assert refused(serve(AWS_REGION="us-east-2",
                         **keys_of(google.aws_session("media"))),
                   "condition_not_met", "attribute condition.*ARN")


def test_the_mapping_that_is_widely_copied_never_meets_a_condition(
        serve, google):
    google.update_provider(
        google.provider, condition=f"attribute.aws_role == '{ROLE}'",
        mapping={"google.subject": "assertion.arn",
                 "attribute.aws_role": "assertion.arn"})
    assert refused(serve(AWS_REGION="us-east-2",
                         **keys_of(google.aws_session("media"))),
                   "condition_not_met", "attribute condition")


def test_a_role_in_another_account_of_aws_is_told(serve, google):
    google.aws_role("other", "444455556666")
    assert refused(serve(AWS_REGION="us-east-2",
                         **keys_of(google.aws_session("other"))),
                   "invalid_subject_token", "AWS account")


def test_a_role_without_the_binding_is_told(serve, google):
    assert refused(serve(AWS_REGION="us-east-2",
                         **keys_of(google.aws_session("node"))),
                   "impersonation_denied", "workloadIdentityUser")


def test_expired_keys_in_the_environment_are_told(serve, google):
    assert refused(serve(AWS_REGION="us-east-2", **keys_of(
        google.aws_session("media", lifetime=-1))), "invalid_subject_token",
        "ExpiredToken.*keys")


def test_wrong_keys_in_the_environment_are_told(serve, google):
    keys = {**google.aws_session("media"), "SecretAccessKey": "x" * 40}
    assert refused(serve(AWS_REGION="us-east-2", **keys_of(keys)),
                   "invalid_subject_token", "SignatureDoesNotMatch")


@pytest.mark.parametrize("words", [
    "Signature expired: 20260101T000000Z is now earlier than "
    "20260101T001000Z", "Signature not yet current: 20260101T000000Z"])
def test_a_clock_that_aws_does_not_believe_is_told(serve, google, words):
    google.fault(kind="sts", status=400, count=None, body=json.dumps({
        "error": "invalid_grant", "error_description": "Received invalid AWS "
        "response of type SignatureDoesNotMatch with error message: "
        + words}))
    assert refused(serve(AWS_REGION="us-east-2",
                         **keys_of(google.aws_session("media"))),
                   "clock_skew", "clock")


@pytest.fixture
def serve_file(nginx, google, tmp_path):
    """nginx with a file of gcloud's, changed by a function."""
    def make(change=lambda source: None, *, impersonate=TARGET, imdsv2=True,
             start=True, **env):
        file = google.external_account_file(
            google.provider, google.aws_source(imdsv2=imdsv2),
            impersonate=impersonate)
        change(file["credential_source"])
        (tmp_path / "aws.json").write_text(json.dumps(file))
        return nginx(f"""
            gcs_credentials aws {{ file {tmp_path}/aws.json;
                                   iam_endpoint %%EMULATOR%%; }}
            gcs_auth aws; gcs_endpoint %%EMULATOR%%;""", server=MEDIA,
            start=start, env=env)

    return make


def test_a_broken_variable_is_named_beside_a_file_as_well(serve_file):
    said = serve_file(start=False,
                      AWS_ENDPOINT_URL_STS="http://example.com").refusal()
    assert "AWS_ENDPOINT_URL_STS" in said and "example.com" not in said


def test_no_region_at_all_is_told_with_the_remedy(serve_file, google):
    """In a place without a metadata service."""
    server = serve_file(lambda source: source.pop("region_url"),
                        **keys_of(google.aws_session("media")))
    assert refused(server, "no_aws_role", "AWS_REGION")


def test_no_place_for_keys_is_told_with_the_remedy(serve_file):
    server = serve_file(lambda source: source.pop("url"),
                        AWS_REGION="us-east-2")
    assert refused(server, "no_aws_role", "no AWS keys")


# files

@pytest.mark.parametrize("imdsv2", [True, False])
@pytest.mark.parametrize("impersonate", [TARGET, None])
def test_a_file_of_gcloud_works(serve_file, google, bucket, imdsv2,
                                impersonate):
    google.grant(google.provider.principal_set("aws_role", ROLE), bucket,
                 ["objectViewer"])
    google.instance(role="media", version=2 if imdsv2 else 1)
    assert served(serve_file(imdsv2=imdsv2, impersonate=impersonate))
    assert ("PUT" in {r["method"] for r in google.requests("imds")}) == imdsv2
    assert ("iam" in google.counts()) == (impersonate is not None)


def test_a_file_for_an_instance_serves_a_pod_too(serve_file, google,
                                                 web_identity):
    assert served(serve_file(**environment(google, **web_identity)))
    assert caller(google) == ROLE + "/ngx-gcs-proxy"


def test_two_blocks_of_one_pod_share_the_token(serve, google, web_identity):
    server = serve(http=BLOCK.replace("credentials aws", "credentials too")
                   .split("gcs_auth")[0] % (f"service_account {TARGET};", ""),
                   server=MEDIA + "location /too/ { gcs_auth too; "
                   "gcs_pass gs://test-bucket/; }", **web_identity)
    assert served(server)
    assert server.get("/too/a.txt").body == b"hello"
    assert google.counts()["sts"] == 1
