"""The guides are followed to the letter, in the emulator.

Their commands are carried out by a small gcloud, the attribute mapping and
the condition are evaluated, and the configuration at the end serves an
object. Only names, the places of files and the addresses of Google's
endpoints are other ones.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import test_docs as docs
from conftest import SANITIZE
from emulator import link_local, mapping
from emulator.forms import Refusal

GUIDES = docs.ROOT / "docs" / "guides"
NAMES = sorted(path.stem for path in GUIDES.glob("*.md"))
BODY = b"the object of the guide"

# The placeholders of all guides; the values are those of their last blocks.
VALUES = {
    "PROJECT_ID": "my-project", "PROJECT_NUMBER": "123456789012",
    "BUCKET": "my-bucket", "OBJECT": "a.txt", "POOL": "aws-pool",
    "PROVIDER": "aws-provider", "AWS_ACCOUNT": "111122223333",
    "ROLE": "media-nginx", "VM": "vm-1", "ZONE": "europe-west1-b",
    "INSTANCE_ID": "i-0123456789abcdef0", "CLUSTER": "cluster-1",
    "NAMESPACE": "web", "KSA": "nginx", "NGINX": "nginx",
    "REGION": "us-east-2", "BASE_PROJECT": "demo-project",
    "BASE_NUMBER": "123456789012", "TARGET_PROJECT": "data-project",
    "LOCATION": "europe-west1", "NODE_POOL": "pool-1", "SERVICE": "web",
    "IMAGE": "nginx", "ISSUER": "oidc.eks.us-east-2.amazonaws.com/id/1",
}
READER = "nginx-reader@my-project.iam.gserviceaccount.com"
ROLE_ARN = "arn:aws:sts::111122223333:assumed-role/media-nginx"


# reading a guide

def text_of(name: str) -> str:
    return (GUIDES / f"{name}.md").read_text()


def filled(text: str) -> str:
    """The placeholders replaced, as the guide tells the reader to."""
    return re.sub(r"\b(" + "|".join(VALUES) + r")\b",
                  lambda match: VALUES[match[1]], text)


def section(name: str, title: str) -> str:
    return docs.sections(text_of(name))[title]


def blocks(text: str, language: str) -> list[str]:
    """Code in a list has its indent taken away."""
    found = []
    for match in re.finditer(rf"^([ ]*)```{language}\n(.*?)^\1```$", text,
                             re.MULTILINE | re.DOTALL):
        indent = len(match[1])
        found.append("".join(line[indent:] if line.strip() else line
                             for line in match[2].splitlines(True)))
    return found


def commands(text: str) -> list[list[str]]:
    """Each command as words, of all shell blocks of the text."""
    return [shlex.split(line, comments=True)
            for block in blocks(text, "sh")
            for line in filled(block).replace("\\\n", " ").splitlines()
            if shlex.split(line, comments=True)]


# a small gcloud

class Cloud:
    """Carries commands out; one that it does not know is a fault."""

    def __init__(self, emulator, folder: Path):
        self.emulator = emulator
        self.folder = folder
        self.enabled: set[str] = set()
        self.pools: set[str] = set()
        self.providers: dict[str, object] = {}
        self.policies: dict[str, dict[str, list[str]]] = {}

    def follow(self, text: str) -> "Cloud":
        for words in commands(text):
            if words[0] == "gcloud":
                self.gcloud(words)
            elif words[:2] == ["kubectl", "annotate"]:
                self.annotate(words)
        return self

    def gcloud(self, words: list[str]) -> None:
        options = dict((word.partition("=")[0][2:], word.partition("=")[2])
                       for word in words if word.startswith("--"))
        plain = [word for word in words[1:] if not word.startswith("--")]
        for size in range(len(plain), 0, -1):
            name = "do_" + "_".join(plain[:size]).replace("-", "_")
            if hasattr(self, name):
                getattr(self, name)(*plain[size:], **{
                    key.replace("-", "_"): value
                    for key, value in options.items()})
                return
        raise AssertionError(f"no such command: {' '.join(words)}")

    def annotate(self, words: list[str]) -> None:
        """The link of a Kubernetes service account to one of Google's."""
        [pair] = [word for word in words if "/" in word and "=" in word
                  and not word.startswith("--")]
        name, _, email = pair.partition("=")
        if name == "iam.gke.io/gcp-service-account" and email:
            self.emulator.metadata_account(email, pod="web/nginx")

    # the commands

    def do_services_enable(self, *apis, project) -> None:
        self.enabled |= {(project, api) for api in apis}

    def do_iam_service_accounts_create(self, name, *, project) -> None:
        email = f"{name}@{project}.iam.gserviceaccount.com"
        self.emulator.add_service_account(
            email, policy={}, api_disabled=(
                project, "iamcredentials.googleapis.com") not in self.enabled)
        self.policies[email] = {}

    def do_iam_service_accounts_add_iam_policy_binding(
            self, email, *, project, role, member) -> None:
        assert email.split("@")[1].startswith(project + ".")
        self.policies[email].setdefault(role, []).append(member)
        self.emulator.set_policy(email, self.policies[email])

    def do_iam_service_accounts_keys_create(self, file, *,
                                            iam_account) -> None:
        assert iam_account in self.policies
        (self.folder / file).write_text(
            self.emulator.service_account(iam_account))

    def do_iam_service_accounts_delete(self, email) -> None:
        self.emulator.remove_account(email)

    def do_storage_buckets_add_iam_policy_binding(
            self, bucket, *, member, role) -> None:
        self._binding(bucket, member, [role])

    def do_storage_buckets_remove_iam_policy_binding(
            self, bucket, *, member, role) -> None:
        self._binding(bucket, member, [])

    def _binding(self, bucket, member, roles) -> None:
        bucket = bucket.removeprefix("gs://")
        if member == "allUsers":
            assert not roles or "legacyObjectReader" in roles[0]
            self.emulator.update_bucket(bucket, public=bool(roles))
            return
        self.emulator.grant(member.removeprefix("serviceAccount:"), bucket,
                            roles)

    def do_storage_buckets_update(self, bucket, **options) -> None:
        assert set(options) <= {"no_public_access_prevention",
                                "public_access_prevention"}

    def do_iam_workload_identity_pools_create(self, pool, *, project,
                                              location) -> None:
        assert (project, location) == ("my-project", "global")
        self.pools.add(pool)

    def do_iam_workload_identity_pools_providers_create_aws(
            self, provider, *, project, location, workload_identity_pool,
            account_id, attribute_mapping, attribute_condition) -> None:
        assert workload_identity_pool in self.pools
        self.providers[provider] = self.emulator.add_provider(
            provider, pool=workload_identity_pool, kind="aws",
            account=account_id, mapping=mapping_of(attribute_mapping),
            condition=attribute_condition)

    def do_iam_workload_identity_pools_providers_update_aws(
            self, provider, *, project, location, workload_identity_pool,
            attribute_mapping) -> None:
        self.emulator.update_provider(self.providers[provider],
                                      mapping=mapping_of(attribute_mapping))

    def do_iam_workload_identity_pools_providers_delete(
            self, provider, *, project, location,
            workload_identity_pool) -> None:
        self.emulator.update_provider(self.providers[provider],
                                      disabled=True)

    def do_iam_workload_identity_pools_delete(self, pool, *, project,
                                              location) -> None:
        self.pools.remove(pool)

    def do_compute_instances_set_service_account(
            self, vm, *, zone, service_account=None, scopes="",
            no_service_account=None, no_scopes=None) -> None:
        if service_account is None:
            self.emulator.metadata_detach()
        else:
            self.emulator.metadata_account(service_account,
                                           scopes=scopes.split(","))

    def do_compute_instances_stop(self, vm, *, zone) -> None:
        pass

    do_compute_instances_start = do_compute_instances_stop

    def do_run_deploy(self, service, *, image, region,
                      service_account) -> None:
        self.emulator.metadata_server(mode="cloud-run")
        self.emulator.metadata_account(service_account)

    def do_container_clusters_update(self, cluster, *, location, project,
                                     workload_pool) -> None:
        assert workload_pool == project + ".svc.id.goog"
        self.emulator.metadata_server(mode="gke")

    def do_container_node_pools_update(self, pool, *, cluster, location,
                                       project, workload_metadata) -> None:
        assert workload_metadata == "GKE_METADATA"


def mapping_of(text: str) -> dict[str, str]:
    return dict(part.split("=", 1)
                for part in re.split(r",(?=(?:attribute|google)\.)", text))


@pytest.fixture
def google(emulator):
    emulator.create_bucket("my-bucket")
    emulator.put_object("my-bucket", "a.txt", BODY)
    return emulator


@pytest.fixture
def cloud(google, tmp_path):
    return Cloud(google, tmp_path)


# the configuration at the end

@pytest.fixture
def run(nginx, google, tmp_path):
    """Starts nginx with the last block of a guide."""
    def make(name, change=lambda text: text, env=None):
        text = change(blocks(text_of(name), "nginx")[-1])
        assert text.startswith("load_module modules/")
        http, rest = docs.unwrap(text, "http")
        _, rest = docs.unwrap(rest, "events")
        assert re.fullmatch(r"load_module [^;]+;\s*", rest), rest
        assert len(re.findall(r"\blisten ", http)) == 1
        http = re.sub(r"\blisten [^;]+;", "listen 127.0.0.1:%%PORT%%;", http)
        http = http.replace("/etc/nginx/gcs/key.json",
                            str(tmp_path / "key.json"))
        endpoints = ""
        if "pool" in http:
            endpoints += "sts_endpoint %%EMULATOR%%/v1/token;"
        if "impersonate" in http or "service_account" in http:
            endpoints += "iam_endpoint %%EMULATOR%%;"
        http = http.replace("gcs_credentials reader {",
                            "gcs_credentials reader { " + endpoints)

        if not SANITIZE:                   # its library must be the first
            env = {"LD_PRELOAD": str(link_local.library(
                tmp_path, google.http_port)), **(env or {})}
        return nginx("gcs_endpoint %%EMULATOR%%;\n" + http, env=env)

    return make


in_the_cloud = pytest.mark.skipif(
    SANITIZE, reason="the sanitizers' library must be the first one")


def served(server):
    answer = server.get("/media/" + VALUES["OBJECT"])
    assert (answer.status, answer.body) == (200, BODY), server.log()
    return server


def showing_the_word(text):
    return text.replace("gcs_pass", "add_header X-Error $gcs_error always; "
                        "gcs_pass")


def word_of(server):
    answer = server.get("/media/a.txt")
    assert answer.status >= 400
    return answer.get("X-Error")


def row_of(name, words):
    """The words of $gcs_error in a row of "When it does not"."""
    [row] = [line for line in section(name, "When it does not").splitlines()
             if line.startswith("|") and words in line]
    return re.findall(r"`(\w+)`", row.replace("\\|", "").split(" | ")[1])


def told(name, server):
    """The notice that "See that it works" quotes."""
    [notice] = re.findall(r"`(location[^`]*)`",
                          section(name, "See that it works"))
    assert server.lines("notice", re.escape(notice))


# key-file.md

def test_the_guide_of_the_key_file_is_followed(cloud, run):
    cloud.follow(section("key-file", "Do it"))
    server = served(run("key-file"))
    told("key-file", server)


def test_the_key_file_is_taken_back(cloud, run, google):
    cloud.follow(section("key-file", "Do it"))
    cloud.follow(section("key-file", "Go back"))
    assert run("key-file").get("/media/a.txt").status == 502


# public-bucket.md

def test_the_guide_of_the_public_bucket_is_followed(cloud, run, google):
    server = run("public-bucket")
    assert server.get("/media/a.txt").status == 403
    cloud.follow(section("public-bucket", "Do it"))
    served(server)
    told("public-bucket", server)
    assert {record["credential"] for record in google.requests("storage")} \
        == {"anonymous"}
    cloud.follow(section("public-bucket", "Go back"))
    assert server.get("/media/a.txt").status == 403


# application-default.md

def account(cloud):
    """What the guide says is needed: steps 1 and 2 of the key file's."""
    steps = re.split(r"^\d+\. ", section("key-file", "Do it"),
                     flags=re.MULTILINE)
    cloud.follow(steps[1] + steps[2])


@in_the_cloud
@pytest.mark.parametrize("title", ["On Compute Engine", "On Cloud Run"])
def test_the_guide_of_default_credentials_is_followed(cloud, run, google,
                                                      title):
    account(cloud)
    cloud.follow(section("application-default", title))
    served(run("application-default"))
    assert google.requests("storage")[-1]["account"] == READER
    assert {record["host"] for record in google.requests("metadata")} \
        == {"169.254.169.254"}


def test_the_guide_of_a_file_in_the_environment_is_followed(
        cloud, run, google, tmp_path):
    account(cloud)
    unit, = blocks(section("application-default",
                           "With a file, through the environment"), "ini")
    [variable] = re.findall(r"^Environment=(\w+)=", unit, re.MULTILINE)
    (tmp_path / "adc.json").write_text(google.service_account(READER))
    served(run("application-default",
               env={variable: str(tmp_path / "adc.json")}))
    assert google.counts().get("metadata") is None


@pytest.mark.parametrize("variable, place", [
    ("HOME", ".config/gcloud"), ("CLOUDSDK_CONFIG", ".")])
def test_the_guide_of_a_login_is_followed(run, google, tmp_path, variable,
                                          place):
    folder = tmp_path / "somebody" / place
    folder.mkdir(parents=True)
    (folder / "application_default_credentials.json").write_text(json.dumps(
        google.authorized_user_file("me@example.com", grants={
            "my-bucket": ["objectViewer"]})))
    # its token_uri is Google's own: a block is needed for another one
    server = run(
        "application-default",
        lambda text: text.replace(
            "http {", "http {\n    gcs_credentials reader { "
            "application_default; token_endpoint %%EMULATOR%%/token; }")
        .replace("gcs_pass", "gcs_auth reader; gcs_pass"),
        env={variable: str(tmp_path / "somebody")})
    served(server)
    assert google.requests("storage")[-1]["account"] == "me@example.com"


# gke.md

@in_the_cloud
def test_the_guide_of_gke_is_followed_with_impersonation(cloud, run, google):
    cloud.follow(section("gke", "In the cluster"))
    cloud.follow(section("gke", "Impersonation: in the base project"))
    cloud.follow(section("gke", "Impersonation: in the target project"))
    served(run("gke"))
    assert google.requests("storage")[-1]["account"] \
        == "nginx-reader@data-project.iam.gserviceaccount.com"
    assert google.requests("iam")[-1]["account"] \
        == "nginx-base@demo-project.iam.gserviceaccount.com"


@in_the_cloud
@pytest.mark.parametrize("role", [
    "roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator"])
def test_either_role_of_step_eight_is_enough(cloud, run, role):
    text = section("gke", "Impersonation: in the target project")
    assert role in text
    cloud.follow(section("gke", "In the cluster"))
    cloud.follow(section("gke", "Impersonation: in the base project"))
    cloud.follow(text.replace("--role=roles/iam.workloadIdentityUser",
                              f"--role={role}"))
    served(run("gke"))


@in_the_cloud
def test_the_guide_of_gke_is_followed_directly(cloud, run, google):
    cloud.follow(section("gke", "In the cluster"))
    google.metadata_account(None, pod="web/nginx")
    cloud.follow(section("gke", "Direct"))
    served(run("gke", lambda text: re.sub(r" *impersonate [^;]+;\n", "",
                                          text)))
    assert google.requests("storage")[-1]["account"].startswith(
        "principal://")


@in_the_cloud
@pytest.mark.parametrize("left_out, word", [
    ("serviceAccount:BASE_PROJECT.svc.id.goog", "impersonation_denied"),
    ("serviceAccount:nginx-base@", "impersonation_denied"),
    ("services enable", "api_disabled"),
    ("storage buckets", "AccessDenied")])
def test_what_is_left_out_in_gke_is_told_as_the_guide_says(
        cloud, run, google, left_out, word):
    """The table of troubles: cause and $gcs_error."""
    for title in ("In the cluster", "Impersonation: in the base project",
                  "Impersonation: in the target project"):
        text = "\n".join(
            "```sh\n" + block + "```" for block in re.findall(
                r"^\s*(?:gcloud|kubectl).*?(?<!\\)\n", section("gke", title)
                .replace("   ", ""), re.MULTILINE | re.DOTALL)
            if left_out not in block)
        cloud.follow(text)
    server = run("gke", showing_the_word)
    assert word_of(server) == word, server.log()
    assert f"| `{word}` |" in section("gke", "When it does not")


# aws.md

@pytest.fixture
def on_aws(google, tmp_path):
    """The four places of the guide, each with its environment."""
    def make(place, *, role=VALUES["ROLE"], session=None):
        region = {"AWS_REGION": VALUES["REGION"]}
        google.aws_role("of-the-node")
        google.instance(role="of-the-node")
        if place == "EKS, with IRSA":
            trust = json.loads(filled(blocks(
                section("aws", place), "json")[0]))["Statement"][0]
            issuer = trust["Principal"]["Federated"].partition(
                "oidc-provider/")[2]
            equals = trust["Condition"]["StringEquals"]
            assert set(equals) == {issuer + ":aud", issuer + ":sub"}
            arn = google.aws_role(
                role, issuer="https://" + issuer,
                audience=equals[issuer + ":aud"],
                subject=equals[issuer + ":sub"])
            path = tmp_path / "web-identity"
            path.write_text(google.oidc_token(
                subject="system:serviceaccount:web:nginx",
                issuer="https://" + issuer, audience="sts.amazonaws.com"))
            return {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path),
                    "AWS_ROLE_ARN": arn, **region,
                    "AWS_ENDPOINT_URL_STS": google.aws_sts_url}

        google.aws_role(role)
        if place == "EC2":
            google.instance(role=role)
            return {}
        if place == "EKS, with Pod Identity":
            path = tmp_path / "pod-identity"
            path.write_text("token-of-the-agent\n")
            google.container_credentials(role, path="/v1/credentials",
                                         authorization="token-of-the-agent")
            return {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(path),
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI":
                        "http://169.254.170.23/v1/credentials", **region}
        assert place == "ECS"
        google.container_credentials(role, path="/v2/credentials/1")
        # as in the task definition of the guide
        definition = json.loads(filled(blocks(section("aws", place),
                                              "json")[-1]))
        assert definition["taskRoleArn"].endswith(":role/" + role)
        [variable] = definition["containerDefinitions"][0]["environment"]
        return {variable["name"]: variable["value"],
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1"}

    return make


def terraform(cloud):
    """What Terraform's resources would make."""
    text, = blocks(section("aws", "With Terraform"), "hcl")
    role = re.search(r'role_arn = "(.*)"', text)[1] \
        .replace("${var.aws_account}", VALUES["AWS_ACCOUNT"]) \
        .replace("${var.aws_role}", VALUES["ROLE"])
    assert role == ROLE_ARN
    mapping = dict(re.findall(r'^    "([\w.]+)"\s+= "(.*)"$', text,
                              re.MULTILINE))
    condition = re.search(r'attribute_condition = "(.*)"', text)[1] \
        .replace("${local.role_arn}", role)
    [pool] = re.findall(r'workload_identity_pool_id = "(.*)"', text)
    [provider] = re.findall(r'workload_identity_pool_provider_id = "(.*)"',
                            text)
    made = cloud.emulator.add_provider(
        provider, pool=pool, kind="aws", account=VALUES["AWS_ACCOUNT"],
        mapping=mapping, condition=condition)
    member = re.search(r'member\s+= "(principalSet:.*)"', text)[1] \
        .replace("${google_iam_workload_identity_pool.aws.name}",
                 made.name.rpartition("/providers/")[0]) \
        .replace("${local.role_arn}", role)
    [iam_role] = re.findall(r'role\s+= "(roles/iam\..*)"', text)
    [storage] = re.findall(r'role\s+= "(roles/storage\..*)"', text)
    assert "iamcredentials.googleapis.com" in text
    cloud.emulator.add_service_account(
        READER, policy={iam_role: [member]}, grants={"my-bucket": [storage]})


def console(cloud):
    """The mapping is the one that is filled in, the condition the guide's."""
    text = section("aws", "In the Console")
    [condition] = re.findall(r"`(attribute\.aws_role == .*)`", text)
    cloud.emulator.add_provider(
        VALUES["PROVIDER"], pool=VALUES["POOL"], kind="aws",
        account=VALUES["AWS_ACCOUNT"], condition=filled(condition))
    [member] = re.findall(r'--member="(principalSet:[^"]*)"',
                          section("aws", "With gcloud"))
    cloud.emulator.add_service_account(
        READER, policy={"roles/iam.workloadIdentityUser": [filled(member)]},
        grants={"my-bucket": ["roles/storage.objectViewer"]})


def gcloud(cloud):
    cloud.follow(section("aws", "With gcloud"))


PLACES = ["EC2", "EKS, with Pod Identity", "EKS, with IRSA", "ECS"]


@in_the_cloud
@pytest.mark.parametrize("way", [gcloud, terraform, console],
                         ids=lambda way: way.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_the_guide_of_aws_is_followed(cloud, run, google, on_aws, place,
                                      way):
    way(cloud)
    served(run("aws", env=on_aws(place)))
    assert google.requests("storage")[-1]["account"] == READER
    assert google.requests("sts")[-1]["attributes"] == {"aws_role": ROLE_ARN}


@in_the_cloud
@pytest.mark.parametrize("way", [gcloud, terraform, console],
                         ids=lambda way: way.__name__)
@pytest.mark.parametrize("role", ["media-nginx-2", "media", "other"])
def test_another_role_is_not_let_in(cloud, run, on_aws, way, role):
    way(cloud)
    server = run("aws", showing_the_word, env=on_aws("EC2", role=role))
    assert word_of(server) == "condition_not_met"


@in_the_cloud
def test_a_long_subject_is_refused_and_the_guide_makes_it_short(
        cloud, run, google, on_aws):
    gcloud(cloud)
    google.instance()
    env = on_aws("EC2")
    google.instance(id="eks-cluster-with-a-long-name-" + "x" * 60)
    first = run("aws", showing_the_word, env=env)
    assert word_of(first) in row_of("aws", "127 bytes limit")
    assert "127 bytes limit" in first.log()
    cloud.follow(section("aws", "A subject that is too long"))
    served(run("aws", env=env))


@in_the_cloud
@pytest.mark.parametrize("words, spoil", [
    ("`invalid_target`", lambda google, cloud: google.update_provider(
        cloud.providers["aws-provider"], disabled=True)),
    ("rejected by the attribute condition", lambda google, cloud:
     google.update_provider(cloud.providers["aws-provider"],
                            condition="attribute.aws_role == 'x'")),
    ("127 bytes limit", lambda google, cloud:
     google.instance(id="i-" + "x" * 100)),
    ("gives no value", lambda google, cloud: google.update_provider(
        cloud.providers["aws-provider"], condition=None,
        mapping={"google.subject": "assertion.external_id"})),
    ("is not the provider's", lambda google, cloud: google.update_provider(
        cloud.providers["aws-provider"], account="444455556666")),
    ("getAccessToken", lambda google, cloud: google.set_policy(READER, {})),
    ("Gaia id not found", lambda google, cloud: google.remove_account(READER)),
    ("has not been used", lambda google, cloud: google.update_account(
        READER, api_disabled=True)),
    ("does not have storage.objects.get", lambda google, cloud: google.grant(
        READER, "my-bucket", [])),
    ("metadata service does not answer", lambda google, cloud: google.fault(
        kind="imds", reset="before_headers", count=None)),
    ("answers 404", lambda google, cloud: google.instance(role=None)),
    ("answers 401", lambda google, cloud: google.fault(
        kind="imds", path="/latest/api/token", hang=True))])
def test_each_trouble_of_the_guide_of_aws_has_the_word_it_says(
        cloud, run, google, on_aws, words, spoil):
    gcloud(cloud)
    env = on_aws("EC2")
    spoil(google, cloud)
    server = run("aws", showing_the_word, env=env)
    assert word_of(server) in row_of("aws", words), server.log()


@in_the_cloud
def test_the_guide_of_aws_works_without_a_service_account(cloud, run, google,
                                                          on_aws):
    gcloud(cloud)
    cloud.follow(section("aws", "Without a service account"))
    server = run("aws", lambda text: re.sub(
        r" *service_account [^;]+;\n", "", text), env=on_aws("EC2"))
    served(server)
    assert "iam" not in google.counts()


@in_the_cloud
def test_aws_is_taken_back(cloud, run, on_aws):
    gcloud(cloud)
    cloud.follow(section("aws", "Go back"))
    assert run("aws", env=on_aws("EC2")).get("/media/a.txt").status == 502


def test_the_plain_arn_does_what_the_guide_warns_of():
    [condition] = re.findall(r'--attribute-condition="([^"]+)"',
                             section("aws", "With gcloud"))
    assertion = {"arn": ROLE_ARN + "/i-0123", "userid": "A:i-0123",
                 "account": VALUES["AWS_ACCOUNT"]}
    with pytest.raises(Refusal, match="attribute condition"):
        mapping.evaluate({"google.subject": "assertion.arn",
                          "attribute.aws_role": "assertion.arn"},
                         filled(condition), assertion)


# all of them

def test_each_guide_ends_in_a_configuration_that_a_test_runs():
    text = "".join(path.read_text() for path in
                   sorted(Path(__file__).parent.glob("test_guides*.py")))
    for name in NAMES:
        assert f'run("{name}"' in text or f'"{name}",\n' in text \
            or f'GUIDE = "{name}"\n' in text, name
        assert text_of(name).rstrip().endswith("```")
        assert docs.headings(text_of(name))[-1][1] \
            == "The whole configuration"


@pytest.mark.parametrize("name", NAMES)
def test_a_guide_gives_no_role_that_does_not_exist(name):
    known = {"roles/iam.workloadIdentityPoolAdmin",
             "roles/iam.serviceAccountAdmin", "roles/storage.admin",
             "roles/iam.serviceAccountKeyAdmin", "roles/container.admin",
             "roles/serviceusage.serviceUsageAdmin",
             "roles/serviceusage.serviceUsageConsumer",
             "roles/iam.workloadIdentityUser",
             "roles/iam.serviceAccountTokenCreator",
             "roles/storage.objectViewer", "roles/storage.legacyBucketReader",
             "roles/storage.legacyObjectReader", "roles/storage.folderAdmin",
             "roles/iam.roleAdmin", "roles/compute.networkAdmin",
             "roles/dns.admin", "roles/accesscontextmanager.policyAdmin"}
    # those of a project are made by the guide itself
    assert set(re.findall(r"(?<!PROJECT_ID/)\broles/[\w.]+\w",
                          text_of(name))) <= known


@pytest.mark.parametrize("name", NAMES)
def test_each_command_of_gcloud_in_a_guide_is_one(name, google, tmp_path):
    """Also those that no test above follows."""
    from test_guides_storage import GUIDES as OTHERS, Storage
    cloud = (Storage if name in OTHERS else Cloud)(google, tmp_path)
    elsewhere = {"auth application-default", "storage ls",
                 "projects describe", "iam service-accounts get-iam-policy",
                 "iam service-accounts keys", "iam workload-identity-pools "
                 "providers list", "iam workload-identity-pools providers "
                 "describe", "iam workload-identity-pools create-cred-config"}
    for words in commands(text_of(name)):
        if words[0] != "gcloud" or any(
                " ".join(words[1:]).startswith(known)
                for known in elsewhere):
            continue
        plain = [word for word in words[1:] if not word.startswith("--")]
        assert any(hasattr(cloud, "do_" + "_".join(plain[:size])
                           .replace("-", "_"))
                   for size in range(1, len(plain) + 1)), words


def test_each_placeholder_of_a_guide_is_explained():
    """Words in capitals in commands are told at the top of the page."""
    for name in NAMES:
        text = text_of(name)
        used = set()
        for block in blocks(text, "sh"):
            used |= set(re.findall(r"(?<![\w$])[A-Z][A-Z_]{2,}\b(?!=)",
                                   block))
        used -= {"GKE_METADATA", "GOOGLE_APPLICATION_CREDENTIALS"}
        need = docs.sections(text)["What you need"] \
            + docs.sections(text).get("With a file, through the "
                                      "environment", "")
        for word in used & set(VALUES):
            if word not in ("SERVICE", "IMAGE", "REGION"):
                assert f"`{word}`" in need, (name, word)
