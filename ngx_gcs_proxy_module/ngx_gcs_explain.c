
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_explain.h"


/*
 * Every refusal of Google or AWS whose cause is known, with the remedy.  The
 * first row that fits is taken, so special ones stand before general ones.
 * The descriptions are Google's, and change: only what is telling is looked
 * for, without regard to case.
 */

static ngx_gcs_explain_t  ngx_gcs_explain_rows[] = {

    { NGX_GCS_EXPLAIN_STORAGE|NGX_GCS_EXPLAIN_SIGNED, 403, NULL,
      "IP filtering",
      NULL,
      "the bucket's IP filter does not list the address of this machine" },

    { NGX_GCS_EXPLAIN_STORAGE|NGX_GCS_EXPLAIN_SIGNED, 403,
      "SecurityPolicyViolated", NULL,
      NULL,
      "VPC Service Controls do not let this machine in" },

    { NGX_GCS_EXPLAIN_STORAGE|NGX_GCS_EXPLAIN_SIGNED, 403, NULL,
      "organization's policy",
      NULL,
      "VPC Service Controls do not let this machine in" },

    { NGX_GCS_EXPLAIN_OAUTH|NGX_GCS_EXPLAIN_STS|NGX_GCS_EXPLAIN_IAM, 403,
      NULL, "organization's policy",
      "token_unavailable",
      "VPC Service Controls do not let this machine in" },

    { NGX_GCS_EXPLAIN_OAUTH, 0, "invalid_grant", "JWT Signature",
      "key_invalid",
      "the key has been deleted or disabled, or belongs to another account; "
      "create a new key" },

    { NGX_GCS_EXPLAIN_OAUTH, 0, "invalid_grant", "account not found",
      "account_not_found",
      "the service account has been deleted or disabled" },

    { NGX_GCS_EXPLAIN_OAUTH, 0, "invalid_grant", "reasonable timeframe",
      "clock_skew",
      "the clock of this machine is wrong; synchronize it" },

    { NGX_GCS_EXPLAIN_OAUTH|NGX_GCS_EXPLAIN_STS, 0, "invalid_grant",
      "expired or revoked",
      "login_expired",
      "the refresh token is no longer valid; log in again, or use a service "
      "account" },

    { NGX_GCS_EXPLAIN_OAUTH|NGX_GCS_EXPLAIN_STS, 0, "invalid_grant",
      "reauth",
      "login_expired",
      "the session policy wants a new login; use a service account" },

    { NGX_GCS_EXPLAIN_OAUTH, 0, "invalid_scope", NULL,
      "scope_invalid",
      "check \"scope\"" },

    { NGX_GCS_EXPLAIN_OAUTH|NGX_GCS_EXPLAIN_STS, 0, "invalid_client", NULL,
      "invalid_client",
      "the OAuth client of the credential file has been deleted, or its "
      "secret is wrong" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_target", NULL,
      "invalid_target",
      "the pool or provider does not exist, or is disabled; the project must "
      "be given by its number, not by its ID" },

    { NGX_GCS_EXPLAIN_STS, 0, NULL, "attribute condition",
      "condition_not_met",
      "the attribute condition of the provider does not hold for this "
      "caller; compare it with the role's ARN or the token's claims" },

    { NGX_GCS_EXPLAIN_STS, 0, NULL, "mapped attribute",
      "invalid_subject_token",
      "the attribute mapping of the provider does not fit this caller" },

    { NGX_GCS_EXPLAIN_STS, 0, NULL, "signature expired",
      "clock_skew",
      "the clock of this machine is wrong; synchronize it" },

    { NGX_GCS_EXPLAIN_STS, 0, NULL, "not yet current",
      "clock_skew",
      "the clock of this machine is wrong; synchronize it" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", "AWS response",
      "invalid_subject_token",
      "AWS does not accept the keys; are there old ones in "
      "AWS_ACCESS_KEY_ID in the environment of nginx?" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", "AWS account",
      "invalid_subject_token",
      "the role is of another AWS account than the provider says" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", "audience",
      "invalid_subject_token",
      "the provider does not allow the audience of the subject token" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", "issuer",
      "invalid_subject_token",
      "the issuer of the provider is wrong, or Google cannot reach it" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", "stale",
      "invalid_subject_token",
      "the subject token has expired; see to it that it is renewed" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", "expired",
      "invalid_subject_token",
      "the subject token has expired; see to it that it is renewed" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_grant", NULL,
      "invalid_subject_token",
      "the subject token is not accepted; check who has issued it, its type "
      "and the clock of this machine" },

    { NGX_GCS_EXPLAIN_STS, 0, "invalid_request", NULL,
      "invalid_subject_token",
      "the subject token is not what the provider expects; check its type" },

    { NGX_GCS_EXPLAIN_IAM, 0, "SERVICE_DISABLED", NULL,
      "api_disabled",
      "enable iamcredentials.googleapis.com in the project of the account" },

    { NGX_GCS_EXPLAIN_IAM, 0, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", NULL,
      "scope_insufficient",
      "the access scopes of the virtual machine do not include "
      "\"cloud-platform\"" },

    { NGX_GCS_EXPLAIN_IAM, 0, NULL, "getAccessToken",
      "impersonation_denied",
      "grant the caller roles/iam.serviceAccountTokenCreator on the target "
      "account, a federated one roles/iam.workloadIdentityUser; or there is "
      "no such account; a new grant takes minutes" },

    { NGX_GCS_EXPLAIN_IAM, 0, NULL, "signBlob",
      "signing_denied",
      "grant the caller roles/iam.serviceAccountTokenCreator on the account "
      "that signs, also if it is the same; or there is no such account; a "
      "new grant takes minutes" },

    { NGX_GCS_EXPLAIN_IAM, 404, NULL, NULL,
      "account_not_found",
      "the target account does not exist; check its e-mail address" },

    { NGX_GCS_EXPLAIN_IAM, 403, NULL, NULL,
      "impersonation_denied",
      "grant the caller roles/iam.serviceAccountTokenCreator on the target "
      "account" },

    { NGX_GCS_EXPLAIN_IAM, 400, NULL, "lifetime",
      "lifetime_refused",
      "more than 1h needs the organization policy constraints/iam.allow"
      "ServiceAccountCredentialLifetimeExtension" },

    { NGX_GCS_EXPLAIN_METADATA, NGX_GCS_EXPLAIN_UNANSWERED, NULL, NULL,
      "no_credentials",
      "this is not Google Cloud, or a network policy is in the way; for "
      "default credentials elsewhere set GOOGLE_APPLICATION_CREDENTIALS" },

    { NGX_GCS_EXPLAIN_SUBJECT, NGX_GCS_EXPLAIN_UNANSWERED, NULL, NULL,
      "invalid_subject_token",
      "the subject token cannot be read" },

    { NGX_GCS_EXPLAIN_SUBJECT, 0, NULL, NULL,
      "invalid_subject_token",
      "the subject token is not to be had there" },

    { NGX_GCS_EXPLAIN_METADATA, 404, NULL, NULL,
      "no_service_account",
      "no service account is attached to this machine or pod" },

    { NGX_GCS_EXPLAIN_METADATA, 403, NULL, NULL,
      "impersonation_denied",
      "on GKE, grant the Kubernetes service account "
      "roles/iam.workloadIdentityUser on the Google one" },

    { NGX_GCS_EXPLAIN_AWS, 404, NULL, NULL,
      "no_aws_role",
      "no role is attached to this instance, or its metadata service is off" },

    { NGX_GCS_EXPLAIN_AWS, 403, NULL, NULL,
      "no_aws_role",
      "the metadata service of the instance is switched off" },

    { NGX_GCS_EXPLAIN_AWS, 401, NULL, NULL,
      "no_aws_role",
      "a session token is demanded, and the answer with it is lost on its "
      "way to this container; set the hop limit of the instance's metadata "
      "service to 2" },

    { NGX_GCS_EXPLAIN_AGENT, 0, NULL, NULL,
      "no_aws_role",
      "the agent of the container does not give keys; is the authorization "
      "token right, and a role assigned?" },

    { NGX_GCS_EXPLAIN_ASSUME, 400, NULL, NULL,
      "aws_role_denied",
      "AWS does not accept the web identity token" },

    { NGX_GCS_EXPLAIN_ASSUME, 403, NULL, NULL,
      "aws_role_denied",
      "the trust policy of the role does not allow this caller" },

    { NGX_GCS_EXPLAIN_OAUTH|NGX_GCS_EXPLAIN_STS|NGX_GCS_EXPLAIN_IAM,
      429, NULL, NULL,
      "quota_exceeded",
      "too many requests in this project; it is tried again" },

    { NGX_GCS_EXPLAIN_STORAGE, 403, "SignatureDoesNotMatch", NULL,
      NULL,
      "the secret is not that of the HMAC key's access ID" },

    { NGX_GCS_EXPLAIN_STORAGE, 403, "RequestTimeTooSkewed", NULL,
      NULL,
      "the clock of this machine is wrong; synchronize it" },

    { NGX_GCS_EXPLAIN_STORAGE, 403, NULL, "storage.objects.get",
      NULL,
      "grant roles/storage.objectViewer on the bucket" },

    { NGX_GCS_EXPLAIN_STORAGE, 403, NULL, "storage.objects.create",
      NULL,
      "grant roles/storage.objectCreator on the bucket" },

    { NGX_GCS_EXPLAIN_STORAGE, 403, NULL, "storage.objects.delete",
      NULL,
      "grant roles/storage.objectUser on the bucket" },

    { NGX_GCS_EXPLAIN_STORAGE, 403, NULL, "serviceusage.services.use",
      NULL,
      "grant roles/serviceusage.serviceUsageConsumer on the project that is "
      "billed" },

    { NGX_GCS_EXPLAIN_STORAGE, 400, "UserProjectMissing", NULL,
      NULL,
      "the bucket is requester-pays; set \"gcs_user_project\"" },

    { NGX_GCS_EXPLAIN_SIGNED, 403, "SignatureDoesNotMatch", NULL,
      NULL,
      "the application has signed with a key that was deleted, or for "
      "another host or method than it says" },

    { NGX_GCS_EXPLAIN_SIGNED, 400, "ExpiredToken", NULL,
      NULL,
      "the URL was good for too short a time, or the application's clock is "
      "wrong" },

    { NGX_GCS_EXPLAIN_SIGNED, 403, NULL, "storage.objects.get",
      NULL,
      "grant roles/storage.objectViewer on the bucket to the account that "
      "the application signs with" },

    { 0, 0, NULL, NULL, NULL, NULL }
};


ngx_gcs_explain_t *
ngx_gcs_explain(ngx_uint_t where, ngx_uint_t status, const char *error,
    const char *text)
{
    ngx_gcs_explain_t  *row;

    for (row = ngx_gcs_explain_rows; row->where; row++) {

        if (!(row->where & where)
            || (row->status && row->status != status))
        {
            continue;
        }

        if (row->error && (error == NULL || ngx_strcmp(error, row->error)))
        {
            continue;
        }

        if (row->text
            && (text == NULL
                || ngx_strcasestrn((u_char *) text, row->text,
                                   ngx_strlen(row->text) - 1)
                   == NULL))
        {
            continue;
        }

        return row;
    }

    return NULL;
}
