
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_check_cause.h"


#define NGX_GCS_CHECK_ON_CREDENTIAL                                           \
    ngx_gcs_check_bit(NGX_GCS_CHECK_CREDENTIAL)

#define NGX_GCS_CHECK_ON_TOKEN                                                \
    (ngx_gcs_check_bit(NGX_GCS_CHECK_TOKEN)                                   \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_SIGN))

#define NGX_GCS_CHECK_ON_STORAGE                                              \
    (ngx_gcs_check_bit(NGX_GCS_CHECK_TLS)                                     \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_CLOCK)                                  \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_BUCKET)                                 \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_LIST)                                   \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_READ)                                   \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_RANGE)                                  \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_SIGN)                                   \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_WRITE)                                  \
     |ngx_gcs_check_bit(NGX_GCS_CHECK_CORS))

#define NGX_GCS_CHECK_ON_SIGN   ngx_gcs_check_bit(NGX_GCS_CHECK_SIGN)
#define NGX_GCS_CHECK_ON_CLOCK  ngx_gcs_check_bit(NGX_GCS_CHECK_CLOCK)
#define NGX_GCS_CHECK_ON_LIST   ngx_gcs_check_bit(NGX_GCS_CHECK_LIST)
#define NGX_GCS_CHECK_ON_RANGE  ngx_gcs_check_bit(NGX_GCS_CHECK_RANGE)
#define NGX_GCS_CHECK_ON_WRITE  ngx_gcs_check_bit(NGX_GCS_CHECK_WRITE)
#define NGX_GCS_CHECK_ON_CORS   ngx_gcs_check_bit(NGX_GCS_CHECK_CORS)
#define NGX_GCS_CHECK_ON_BUCKET  ngx_gcs_check_bit(NGX_GCS_CHECK_BUCKET)

#define NGX_GCS_CHECK_ANY                                                     \
    (NGX_GCS_CHECK_ON_TOKEN|NGX_GCS_CHECK_ON_STORAGE)

#define NGX_GCS_CHECK_VIEWER                                                  \
    "gcloud storage buckets add-iam-policy-binding gs://$B --member='$M' "    \
    "--role=roles/storage.objectViewer"


ngx_gcs_check_cause_t  ngx_gcs_check_causes[] = {

    /* found here, without a word of Google */

    { NGX_GCS_CHECK_ON_CREDENTIAL, 0, "credential_replaced", NULL,
      "The file of the credential has been replaced by something that is no "
      "usable credential. The one loaded before is still in use, but nginx "
      "will not start again with this file.",
      "Put a valid file in its place; it is noticed within 15 seconds.",
      NULL },

    { NGX_GCS_CHECK_ON_CLOCK, 0, "clock_skew", NULL,
      "The clock of this machine differs from Google's. With more than a few "
      "minutes neither signed URLs nor tokens of a key are accepted.",
      "Synchronize the clock.",
      "timedatectl set-ntp true" },

    { NGX_GCS_CHECK_ON_LIST, 0, "prefix_empty", NULL,
      "The bucket can be listed, but nothing is under the prefix: it may be "
      "misspelt (names are case-sensitive, and begin without a slash), or "
      "nothing has been uploaded yet.",
      "Look what is there, and correct the prefix.",
      "gcloud storage ls gs://$B/" },

    { NGX_GCS_CHECK_ON_RANGE, 0, "range_ignored", NULL,
      "A range was asked for, and something else was answered: seeking in "
      "video and audio would not work. Cloud Storage does not do that; a "
      "proxy or an emulator in between may.",
      "Let \"gcs_endpoint\" lead to Cloud Storage itself.",
      NULL },

    { NGX_GCS_CHECK_ON_WRITE, 0, "write_denied", NULL,
      "\"gcs_methods\" allows writing, but the account has not the "
      "permissions for it on the bucket.",
      "Grant the role; it takes effect within minutes. Or remove \"PUT\" and "
      "\"DELETE\" from \"gcs_methods\".",
      "gcloud storage buckets add-iam-policy-binding gs://$B --member='$M' "
      "--role=roles/storage.objectUser" },

    { NGX_GCS_CHECK_ON_CORS, 0, "cors_missing", NULL,
      "The CORS configuration of the bucket does not allow this origin to "
      "read. That matters only for signed URLs, which lead browsers to "
      "Google; what nginx passes on itself is answered by \"gcs_cors\".",
      "Set the configuration. The command replaces the rules that are there: "
      "add those you need to the file. Browsers remember the old ones for up "
      "to maxAgeSeconds.",
      "echo '$O' > cors.json && gcloud storage buckets update gs://$B "
      "--cors-file=cors.json" },

    { NGX_GCS_CHECK_ON_CORS, 0, "cors_not_exposed", NULL,
      "The origin may read, but scripts do not see \"Content-Range\", which "
      "players need that read a file in ranges.",
      "Add \"Content-Range\" to responseHeader. The command replaces the "
      "rules that are there.",
      "echo '$O' > cors.json && gcloud storage buckets update gs://$B "
      "--cors-file=cors.json" },

    /* no answer */

    { NGX_GCS_CHECK_ANY, 0, NULL, "Could not resolve",
      "The name cannot be resolved: DNS does not work here, or the name is "
      "misspelt.",
      "Check /etc/resolv.conf and \"gcs_endpoint\".",
      "getent hosts $H" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "Resolving timed out",
      "The name server does not answer.",
      "Check /etc/resolv.conf, and firewalls between here and the name "
      "server.",
      "getent hosts $H" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "setting certificate",
      "The file with trusted certificates cannot be read by the worker "
      "processes of nginx, or has no certificate in it.",
      "Let the user of the worker processes read it, and its folder.",
      NULL },

    { NGX_GCS_CHECK_ANY, 0, NULL, "trust anchors",
      "The file with trusted certificates cannot be read by the worker "
      "processes of nginx, or has no certificate in it.",
      "Let the user of the worker processes read it, and its folder.",
      NULL },

    { NGX_GCS_CHECK_ANY, 0, NULL, "subject name",
      "The certificate of the endpoint is for another name.",
      "Check \"gcs_endpoint\" and its \"host=\" parameter; a proxy that opens "
      "TLS may be in between.",
      "openssl s_client -connect $H:$N -servername $H </dev/null" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "certificate",
      "The certificate of the endpoint was not issued by an authority that is "
      "trusted here: the system's list is missing or old, or a proxy opens "
      "TLS on the way.",
      "Install the package ca-certificates, or name the authority of your "
      "proxy in \"gcs_ssl_trusted_certificate\" (for tokens: "
      "\"ssl_trusted_certificate\" in \"gcs_credentials\").",
      "openssl s_client -connect $H:$N -servername $H </dev/null" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "Connection refused",
      "Nobody listens at the address of the endpoint.",
      "Check \"gcs_endpoint\" and its port.",
      "curl -sv https://$H:$N/" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "timed out",
      "There was no answer in time: a firewall may drop the packets, or the "
      "machine has no way to the Internet (Private Google Access, a NAT).",
      "Allow outgoing connections to port 443.",
      "curl -sv --max-time 10 https://$H:$N/" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "connect to",
      "The endpoint cannot be reached: there is no route, or a firewall is in "
      "between.",
      "Allow outgoing connections to port 443.",
      "curl -sv --max-time 10 https://$H:$N/" },

    { NGX_GCS_CHECK_ANY, 0, NULL, "SSL",
      "TLS could not be established with the endpoint.",
      "Check that the port speaks TLS, and what is in between.",
      "openssl s_client -connect $H:$N -servername $H </dev/null" },

    /* tokens, and signatures by IAM: words of ngx_gcs_explain.c */

    { NGX_GCS_CHECK_ON_TOKEN, 0, "key_invalid", NULL,
      "The key of the service account has been deleted or disabled, or the "
      "file is of another account.",
      "Create a new key, put it in the place of the file, and delete the old "
      "one. An organization's policy may have disabled keys.",
      "gcloud iam service-accounts keys create key.json --iam-account=$T" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "account_not_found", NULL,
      "The service account does not exist: it has been deleted or disabled, "
      "or its e-mail address is misspelt.",
      "Look whether it is there. One that was deleted less than 30 days ago "
      "can be restored (gcloud beta iam service-accounts undelete).",
      "gcloud iam service-accounts describe $T" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "clock_skew", NULL,
      "The clock of this machine is wrong: Google does not accept what is "
      "signed at a time that is not now.",
      "Synchronize the clock.",
      "timedatectl set-ntp true" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "login_expired", NULL,
      "The login is no longer valid: it was revoked, its password was "
      "changed, or a policy limits its life.",
      "Log in again; for a server use a service account.",
      "gcloud auth application-default login" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "scope_invalid", NULL,
      "A scope that is asked for does not exist.",
      "Check \"scope\" in \"gcs_credentials\".",
      NULL },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "scope_insufficient", NULL,
      "The access scopes of the virtual machine do not allow it, whatever "
      "roles its account has.",
      "Stop the instance and give it the scope \"cloud-platform\".",
      "gcloud compute instances set-service-account INSTANCE "
      "--scopes=cloud-platform" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "invalid_client", NULL,
      "The OAuth client of the credential file has been deleted, or its "
      "secret is wrong.",
      "Log in again; for a server use a service account.",
      "gcloud auth application-default login" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "invalid_target", NULL,
      "The workload identity pool or its provider does not exist, or is "
      "disabled; or the project is given by its ID, not by its number.",
      "Compare the names with those that Google knows.",
      "gcloud iam workload-identity-pools providers describe '$W'" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "condition_not_met", NULL,
      "The attribute condition of the provider does not hold for this "
      "caller.",
      "Compare the condition with the claims of the subject token, or the "
      "role's ARN.",
      "gcloud iam workload-identity-pools providers describe '$W'" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "invalid_subject_token", "audience",
      "The provider does not allow the audience of the subject token.",
      "Issue it for an audience that the provider allows.",
      "gcloud iam workload-identity-pools providers describe '$W'" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "invalid_subject_token", NULL,
      "The subject token is not accepted: it has expired or cannot be read, "
      "or its issuer, type or mapping does not fit the provider.",
      "Compare its claims with the provider, and see to it that it is "
      "renewed.",
      "gcloud iam workload-identity-pools providers describe '$W'" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "api_disabled", NULL,
      "The API of IAM Service Account Credentials is not enabled in the "
      "project of the account.",
      "Enable it; it takes some minutes.",
      "gcloud services enable iamcredentials.googleapis.com --project=$P" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "impersonation_denied", "metadata",
      "The Kubernetes service account of the pod may not act as the Google "
      "one.",
      "Grant roles/iam.workloadIdentityUser on it to the Kubernetes service "
      "account.",
      "gcloud iam service-accounts add-iam-policy-binding $T "
      "--member='serviceAccount:PROJECT.svc.id.goog[NAMESPACE/NAME]' "
      "--role=roles/iam.workloadIdentityUser" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "impersonation_denied", NULL,
      "The caller may not act as the target account "
      "(iam.serviceAccounts.getAccessToken), or there is no such account.",
      "Grant it on the target account; to a federated caller "
      "roles/iam.workloadIdentityUser is granted instead. It takes effect "
      "within minutes.",
      "gcloud iam service-accounts add-iam-policy-binding $T --member='$C' "
      "--role=roles/iam.serviceAccountTokenCreator" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "signing_denied", NULL,
      "IAM may not sign for the account (iam.serviceAccounts.signBlob): the "
      "caller needs the role on the account that signs, also if both are the "
      "same.",
      "Grant it; it takes effect within minutes.",
      "gcloud iam service-accounts add-iam-policy-binding $T --member='$C' "
      "--role=roles/iam.serviceAccountTokenCreator" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "lifetime_refused", NULL,
      "A token may live for one hour at most, unless the organization's "
      "policy allows more for this account.",
      "Shorten \"token_lifetime\", or extend the policy "
      "constraints/iam.allowServiceAccountCredentialLifetimeExtension.",
      NULL },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "no_credentials", NULL,
      "The metadata server does not answer: this is not Google Cloud, or a "
      "network policy is in the way.",
      "Outside of Google Cloud name a credential in \"gcs_credentials\". On "
      "GKE allow 169.254.169.254 in the network policy.",
      "curl -s -H 'Metadata-Flavor: Google' "
      "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "no_service_account", NULL,
      "No service account is attached to this machine or pod.",
      "Attach one.",
      "gcloud compute instances set-service-account INSTANCE "
      "--service-account=ACCOUNT --scopes=cloud-platform" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "no_aws_role", NULL,
      "AWS gives no keys: no role is attached, or its metadata service "
      "cannot be reached from here.",
      "Attach a role; in a container the hop limit of the metadata service "
      "must be 2.",
      "aws sts get-caller-identity" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "aws_role_denied", NULL,
      "AWS does not let this caller assume the role.",
      "Check the trust policy of the role, and the web identity token.",
      "aws sts get-caller-identity" },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "quota_exceeded", NULL,
      "The project has used up its quota for tokens or signatures.",
      "It is tried again by itself; ask for a larger quota if it lasts.",
      NULL },

    { NGX_GCS_CHECK_ON_TOKEN, 0, "token_timeout", NULL,
      "The token did not come within \"gcs_token_timeout\".",
      "Look into the error log for the cause.",
      NULL },

    /* Cloud Storage */

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "IP filter",
      "The bucket has an IP filter that does not let this machine in.",
      "Add the address that nginx has towards Google (of the NAT, or its VPC "
      "network) to the filter, or \"gcs_endpoint\" to a way that is allowed.",
      "gcloud storage buckets describe gs://$B --raw "
      "--format='json(ipFilter)'" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "organization's policy",
      "VPC Service Controls: the request crosses the perimeter that the "
      "project of the bucket is in.",
      "Allow this machine's network or identity by an ingress rule; the "
      "unique identifier in the error leads to the audit log's entry.",
      "gcloud logging read 'protoPayload.metadata.@type="
      "\"type.googleapis.com/google.cloud.audit.VpcServiceControlAudit"
      "Metadata\"' --limit=5" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "VPC Service Controls",
      "VPC Service Controls: the request crosses the perimeter that the "
      "project of the bucket is in.",
      "Allow this machine's network or identity by an ingress rule.",
      "gcloud logging read 'protoPayload.metadata.@type="
      "\"type.googleapis.com/google.cloud.audit.VpcServiceControlAudit"
      "Metadata\"' --limit=5" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, "UserProjectMissing", NULL,
      "The bucket is requester-pays, and no project to be billed is named.",
      "Set \"gcs_user_project\".",
      NULL },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "requester pays",
      "The bucket is requester-pays, and no project to be billed is named.",
      "Set \"gcs_user_project\".",
      NULL },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "serviceusage.services.use",
      "The account may not bill the project of \"gcs_user_project\".",
      "Grant the role on that project.",
      "gcloud projects add-iam-policy-binding $U --member='$M' "
      "--role=roles/serviceusage.serviceUsageConsumer" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "User project",
      "The project of \"gcs_user_project\" does not exist.",
      "Correct it.",
      "gcloud projects describe $U" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "billing",
      "Billing is disabled in the project of the bucket, or in that of "
      "\"gcs_user_project\".",
      "Link the project to an open billing account.",
      "gcloud billing projects link PROJECT --billing-account=ACCOUNT_ID" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, "accountDisabled", NULL,
      "Billing is disabled in the project of the bucket, or in that of "
      "\"gcs_user_project\".",
      "Link the project to an open billing account.",
      "gcloud billing projects link PROJECT --billing-account=ACCOUNT_ID" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "has not been used in project",
      "The API of Cloud Storage is not enabled in the project of the "
      "account.",
      "Enable it; it takes some minutes.",
      "gcloud services enable storage.googleapis.com --project=$P" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, "SERVICE_DISABLED", NULL,
      "The API of Cloud Storage is not enabled in the project of the "
      "account.",
      "Enable it; it takes some minutes.",
      "gcloud services enable storage.googleapis.com --project=$P" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, "RequestTimeTooSkewed", NULL,
      "The clock of this machine is wrong: Google does not accept what is "
      "signed at a time that is not now.",
      "Synchronize the clock.",
      "timedatectl set-ntp true" },

    { NGX_GCS_CHECK_ON_SIGN, 400, "ExpiredToken", NULL,
      "The URL had expired when it was asked for: the clock of this machine "
      "is wrong.",
      "Synchronize the clock.",
      "timedatectl set-ntp true" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, "SignatureDoesNotMatch", NULL,
      "The signature does not fit: the key has been deleted, its secret is "
      "not that of the access ID, or the host that is signed is not the one "
      "that was asked.",
      "Compare the key with those that Google knows; create a new one.",
      "gcloud storage hmac list" },

    { NGX_GCS_CHECK_ON_STORAGE, 401, "KeyInactive", NULL,
      "The HMAC key is not active.",
      "Activate it, or create a new one.",
      "gcloud storage hmac list" },

    { NGX_GCS_CHECK_ON_STORAGE, 401, "KeyDeleted", NULL,
      "The HMAC key has been deleted.",
      "Create a new one.",
      "gcloud storage hmac list" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "scope",
      "The token's scopes do not allow it, whatever roles the account has.",
      "Remove \"scope\" from \"gcs_credentials\"; give a virtual machine the "
      "scope \"cloud-platform\".",
      NULL },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "storage.buckets.get",
      "The account may not read the properties of the bucket. nginx does not "
      "need that; Label Studio's own storage connection does.",
      "Grant the role if somebody needs it.",
      "gcloud storage buckets add-iam-policy-binding gs://$B --member='$M' "
      "--role=roles/storage.legacyBucketReader" },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "storage.objects.list",
      "The account may not list the bucket.",
      "Grant the role on the bucket; it takes effect within minutes.",
      NGX_GCS_CHECK_VIEWER },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "storage.objects.get",
      "The account may not read objects of the bucket.",
      "Grant the role on the bucket; it takes effect within minutes.",
      NGX_GCS_CHECK_VIEWER },

    { NGX_GCS_CHECK_ON_STORAGE, 0, NULL, "cloudkms",
      "The bucket's objects are encrypted by a key of Cloud KMS that cannot "
      "be used: Cloud Storage's own service agent needs the role, or the key "
      "is disabled.",
      "Authorize the service agent.",
      "gcloud storage service-agent --project=PROJECT "
      "--authorize-cmek=KEY" },

    { NGX_GCS_CHECK_ON_STORAGE, 400,
      "ResourceIsEncryptedWithCustomerEncryptionKey", NULL,
      "The object is encrypted by a key of the customer's own, which the "
      "check does not send.",
      "Check another prefix.",
      NULL },

    { NGX_GCS_CHECK_ON_STORAGE, 404, "NoSuchBucket", NULL,
      "There is no such bucket.",
      "Correct the name in \"gcs_check\", and in \"gcs_pass\".",
      "gcloud storage buckets describe gs://$B" },

    { NGX_GCS_CHECK_ON_STORAGE, 404, NULL, "bucket does not exist",
      "There is no such bucket.",
      "Correct the name in \"gcs_check\", and in \"gcs_pass\".",
      "gcloud storage buckets describe gs://$B" },

    { NGX_GCS_CHECK_ON_BUCKET|NGX_GCS_CHECK_ON_LIST, 404, NULL, NULL,
      "There is no such bucket.",
      "Correct the name in \"gcs_check\", and in \"gcs_pass\".",
      "gcloud storage buckets describe gs://$B" },

    { NGX_GCS_CHECK_ON_STORAGE, 404, NULL, NULL,
      "There is no such object.",
      "Look what is there.",
      "gcloud storage ls gs://$B/" },

    { NGX_GCS_CHECK_ON_STORAGE, 401, NULL, NULL,
      "Cloud Storage does not accept the token, or wants one: the account "
      "was disabled, the endpoint belongs to another universe, or the bucket "
      "is not public.",
      "Check \"gcs_auth\" and \"gcs_endpoint\".",
      NULL },

    { NGX_GCS_CHECK_ON_BUCKET, 403, NULL, NULL,
      "The account may not read the properties of the bucket. nginx does not "
      "need that; Label Studio's own storage connection does.",
      "Grant the role if somebody needs it.",
      "gcloud storage buckets add-iam-policy-binding gs://$B --member='$M' "
      "--role=roles/storage.legacyBucketReader" },

    { NGX_GCS_CHECK_ON_STORAGE, 403, NULL, NULL,
      "Cloud Storage refuses it to this account.",
      "Grant the role on the bucket; an IAM condition or a deny policy may "
      "stand against it.",
      NGX_GCS_CHECK_VIEWER },

    { NGX_GCS_CHECK_ANY, 429, NULL, NULL,
      "There are too many requests.",
      "It is passing; let the check be asked less often.",
      NULL },

    { NGX_GCS_CHECK_ANY, 5, NULL, NULL,
      "Google has a fault, most often a passing one.",
      "Try it again; see https://status.cloud.google.com/ if it lasts.",
      NULL },

    { NGX_GCS_CHECK_ON_STORAGE, 3, NULL, NULL,
      "The endpoint redirects, which Cloud Storage does not do.",
      "Let \"gcs_endpoint\" lead to Cloud Storage itself.",
      NULL },

    { 0, 0, NULL, NULL,
      "The cause is not known.",
      "Look into the error log of nginx.",
      NULL }
};
