document.getElementById("app").textContent = "datumaro-embed explore";
