//! Keys about who may do what, and TLS.

use super::{Chapter, Kind, key};

const NO_TLS: &str = "TLS is not built yet; remove the line, or keep this server on a network that you trust";
const NO_SASL: &str = "SASL is not built yet; remove the line";

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Security",
    families: &[
        key(
            "authProvider.",
            Kind::Text,
            "",
            "Java class of one more authentication provider: of Apache's own, EnsembleAuthenticationProvider, KeyAuthenticationProvider, DigestAuthenticationProvider and IPAuthenticationProvider; others are refused.",
        ),
        key("ssl.", Kind::Text, "", "TLS settings.").refused(&[], NO_TLS),
        key("quorum.auth.", Kind::Text, "", "Tuning of SASL between servers.")
            .file_only()
            .idle("quorum.auth.enableSasl"),
        key("superUser.", Kind::Text, "", "More SASL users with all rights.").idle(JAAS),
        key("sasl.", Kind::Text, "", "SASL settings.").no_effect(NO_EFFECT_SASL),
        key("kerberos.", Kind::Text, "", "Kerberos settings.").no_effect(NO_EFFECT_SASL),
    ],
    keys: &[
        key("skipACL", Kind::OnlyYes, "no", "Exactly `yes`: ACLs are not checked, everyone may do everything."),
        key(
            "DigestAuthenticationProvider.enabled",
            Kind::PropertyBool,
            "true",
            "The digest scheme can be used. A connection collects up to 256 identities and 64 KiB of them, of all schemes together; a login beyond is answered -115 and closed (Apache has no such limit).",
        ),
        key(
            "DigestAuthenticationProvider.superDigest",
            Kind::Secret,
            "",
            "`super:<base64 of the hash of super:password>`: who knows the password has all rights. Unset: nobody has.",
        ),
        key(
            "DigestAuthenticationProvider.digestAlg",
            Kind::Choice(&[
                "SHA1",
                "SHA-1",
                "SHA",
                "SHA-224",
                "SHA-256",
                "SHA-384",
                "SHA-512",
                "SHA-512/224",
                "SHA-512/256",
                "SHA3-224",
                "SHA3-256",
                "SHA3-384",
                "SHA3-512",
            ]),
            "SHA1",
            "Hash of the digest scheme; the same on all servers of an ensemble.",
        ),
        key(
            "4lw.commands.whitelist",
            Kind::Text,
            "srvr",
            "Four-letter words that are answered: a list with commas, or `*`. `srvr` always is.",
        ),
        key("secureClientPort", Kind::Decimal(0, 65535), "", "TLS port for clients.")
            .file_only()
            .refused(&["0"], NO_TLS),
        key("secureClientPortAddress", Kind::Text, "", "Address of the TLS port.").file_only().refused(&[], NO_TLS),
        key("client.portUnification", Kind::PropertyBool, "false", "TLS and plain text on one port.")
            .refused(&["false"], NO_TLS),
        key("sslQuorum", Kind::StrictBool, "false", "TLS between servers.").file_only().refused(&["false"], NO_TLS),
        key("portUnification", Kind::StrictBool, "false", "TLS and plain text between servers on one port.")
            .file_only()
            .refused(&["false"], NO_TLS),
        key("sslQuorumReloadCertFiles", Kind::StrictBool, "false", "Reload certificates of the quorum port.")
            .file_only()
            .refused(&["false"], NO_TLS),
        key("client.certReload", Kind::PropertyBool, "false", "Reload certificates of the client port.")
            .refused(&["false"], NO_TLS),
        key("fips-mode", Kind::Text, "true", "Restrict TLS to what FIPS allows.").no_effect("there is no TLS here yet"),
        key("X509AuthenticationProvider.superUser", Kind::Text, "", "Certificate name with all rights.")
            .idle("secureClientPort"),
        key("superUser", Kind::Text, "", "SASL user with all rights.").idle(JAAS),
        key("quorum.auth.enableSasl", Kind::StrictBool, "false", "SASL between servers.")
            .file_only()
            .refused(&["false"], NO_SASL),
        key("quorum.auth.serverRequireSasl", Kind::StrictBool, "false", "Only servers that passed SASL may join.")
            .file_only()
            .refused(&["false"], NO_SASL),
        key("quorum.auth.learnerRequireSasl", Kind::StrictBool, "false", "Only leaders that passed SASL are followed.")
            .file_only()
            .refused(&["false"], NO_SASL),
        key("java.security.auth.login.config", Kind::Text, "", "JAAS file.").bare().refused(&[], NO_SASL),
        key("sessionRequireClientSASLAuth", Kind::PropertyBool, "false", "Only clients that passed SASL.")
            .refused(&["false"], "SASL is not built yet, so that no client could pass; remove the line"),
        key("SASLAuthenticationProvider.superPassword", Kind::Secret, "", "Password of the SASL user super.")
            .idle(JAAS),
        key("allowSaslFailedClients", Kind::Text, "false", "Keep clients whose SASL login failed.")
            .no_effect(NO_EFFECT_SASL),
        key("letAnySaslUserDoX", Kind::Text, "", "A historic way around ACLs.").no_effect(NO_EFFECT_SASL),
        key("requireKerberosConfig", Kind::Text, "", "Demand a Kerberos configuration.").no_effect(NO_EFFECT_SASL),
        key("security.auth_to_local", Kind::Text, "", "Rules that shorten Kerberos names.").no_effect(NO_EFFECT_SASL),
        key("kinit", Kind::Text, "", "Path of kinit.").no_effect(NO_EFFECT_SASL),
        key(
            "enforce.auth.enabled",
            Kind::PropertyBool,
            "false",
            "Only clients that passed one of enforce.auth.schemes. Others are answered -124 and closed, whatever they ask.",
        ),
        key("enforce.auth.schemes", Kind::Text, "", "Schemes of which a client must pass one, with commas."),
        key(
            "ensembleAuthName",
            Kind::Text,
            "",
            "Names of this ensemble, with commas, against clients of another one; counts with EnsembleAuthenticationProvider.",
        ),
        key(
            "IPAuthenticationProvider.usexforwardedfor",
            Kind::PropertyBool,
            "false",
            "Trust X-Forwarded-For on the admin port.",
        )
        .no_effect("there is no admin port here yet"),
        key("enableEagerACLCheck", Kind::Text, "false", "Check ACLs before a write is forwarded.")
            .no_effect("a standalone server forwards nothing"),
        key("audit.enable", Kind::PropertyBool, "false", "Write an audit log.")
            .refused(&["false"], "the audit log is not built yet; remove the line"),
        key("audit.impl.class", Kind::Text, "", "Java class of the audit log.")
            .no_effect("it counts only with audit.enable=true"),
    ],
};

/// What switches SASL on for clients.
const JAAS: &str = "java.security.auth.login.config";
const NO_EFFECT_SASL: &str = "there is no SASL here yet";
